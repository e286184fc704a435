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

/// MPI collectives between the leaders of nodes. All waits poll the node's abort word and throw CommunicatorAborted; MPI may then still use
/// the buffers, see abandoned().
class InterNodeLink {
 public:
  /// Owns `leaders`. Long waits call `idle`.
  InterNodeLink(MPI_Comm leaders, std::shared_ptr<NodeGroup> word, std::function<void()> idle);
  ~InterNodeLink();
  InterNodeLink(const InterNodeLink&) = delete;
  InterNodeLink& operator=(const InterNodeLink&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  MPI_Comm communicator() const noexcept { return leaders_; }
  /// Whether a wait was left before MPI completed the operation. Its buffers must then never be freed: pass them to keep().
  bool abandoned() const noexcept { return abandoned_; }
  /// If an operation was abandoned, `buffer` lives as long as the process.
  void keep(std::shared_ptr<const void> buffer) { values_->kept.push_back(std::move(buffer)); }

  /// Element-wise maximum over the hosts.
  using Flags = std::array<uint64_t, 3>;
  Flags all_max(const Flags& mine);
  /// All-gather in host order; all hosts pass the same number of bytes.
  std::vector<std::byte> all_gather(std::span<const std::byte> mine);
  /// Byte ranges of a buffer; part i belongs to host i.
  struct Parts {
    std::vector<int> bytes, begins;
    void add(size_t begin, size_t size) { bytes.push_back(static_cast<int>(size)), begins.push_back(static_cast<int>(begin)); }
  };
  /// Sends part i of `send` to host i, and receives host i's part for this host into part i of `receive`.
  void all_to_all(const std::byte* send, const Parts& send_parts, std::byte* receive, const Parts& receive_parts);
  /// In-place all-gather of the parts. `direct`: every host sends to every other; else MPI's algorithm.
  void all_gather_parts(std::byte* data, const Parts& parts, bool direct);
  void broadcast(std::byte* data, int bytes, int root);
  /// output [count] <- op over the hosts of input [count], by MPI, which chooses the order of sums. Not in place.
  void all_reduce(const std::byte* input, std::byte* output, int count, at::ScalarType dtype, ReduceOp op);

 private:
  void wait(std::span<MPI_Request> requests);

  MPI_Comm leaders_;
  std::shared_ptr<NodeGroup> word_;
  std::function<void()> idle_;
  int rank_ = 0, size_ = 1;
  bool abandoned_ = false;
  /// Buffers that MPI may use until an operation completes.
  struct Values {
    std::vector<std::byte> mine, all;
    Flags flags_mine, flags;
    Parts sent, received;
    std::vector<std::shared_ptr<const void>> kept;
  };
  MpiOps ops_;
  std::unique_ptr<Values> values_ = std::make_unique<Values>();
};

}  // namespace levin::detail
