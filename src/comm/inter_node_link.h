#pragma once
#include <mpi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "levin/comm/node_group.h"
#include "mpi_reduce.h"

namespace levin::detail {

/// MPI between the leaders of nodes. All waits poll the node's abort word and throw CommunicatorAborted. MPI may then still use the
/// buffers: see abandoned().
class InterNodeLink {
 public:
  /// Takes `leaders`, and frees it. `idle` is called in waits that last.
  InterNodeLink(MPI_Comm leaders, std::shared_ptr<NodeGroup> word, std::function<void()> idle);
  ~InterNodeLink();
  InterNodeLink(const InterNodeLink&) = delete;
  InterNodeLink& operator=(const InterNodeLink&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  MPI_Comm communicator() const noexcept { return leaders_; }
  /// An operation was left while MPI was at it: its buffers must never be freed: keep them.
  bool abandoned() const noexcept { return abandoned_; }
  /// `buffer` lives as long as the process if an operation was left.
  void keep(std::shared_ptr<const void> buffer) { values_->kept.push_back(std::move(buffer)); }

  /// Element-wise maximum over the hosts.
  using Flags = std::array<uint64_t, 3>;
  Flags all_max(const Flags& mine);
  /// Every host gives the same number of bytes; all in host order.
  std::vector<std::byte> all_gather(std::span<const std::byte> mine);
  /// Bytes of a buffer, part i of which is host i's.
  struct Parts {
    std::vector<int> bytes, begins;
    void add(size_t begin, size_t size) { bytes.push_back(static_cast<int>(size)), begins.push_back(static_cast<int>(begin)); }
  };
  /// Part i of `send` goes to host i, whose part for this host is received into part i of `receive`.
  void all_to_all(const std::byte* send, const Parts& send_parts, std::byte* receive, const Parts& receive_parts);
  /// Everybody gets all parts; this host's is in place. `direct`: each host sends to each; else MPI's own algorithm.
  void all_gather_parts(std::byte* data, const Parts& parts, bool direct);
  void broadcast(std::byte* data, int bytes, int root);
  /// output [count] <- op over the hosts of input [count], by MPI's own algorithm, whose order of a sum it chooses. Not in place.
  void all_reduce(const std::byte* input, std::byte* output, int count, at::ScalarType dtype, ReduceOp op);
  /// output [counts[this host]] <- this host's part of op over the hosts of input [sum of counts], as all_reduce.
  void reduce_scatter(const std::byte* input, std::byte* output, const std::vector<int>& counts, at::ScalarType dtype, ReduceOp op);

 private:
  void wait(std::span<MPI_Request> requests);

  MPI_Comm leaders_;
  std::shared_ptr<NodeGroup> word_;
  std::function<void()> idle_;
  int rank_ = 0, size_ = 1;
  bool abandoned_ = false;
  /// Buffers that MPI may use until an operation's end.
  struct Values {
    std::vector<std::byte> mine, all;
    Flags flags_mine, flags;
    Parts sent, received;
    std::vector<int> counts;
    std::vector<std::shared_ptr<const void>> kept;
  };
  MpiOps ops_;
  std::unique_ptr<Values> values_ = std::make_unique<Values>();
};

}  // namespace levin::detail
