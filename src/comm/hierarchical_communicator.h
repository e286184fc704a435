#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "abort_bridge.h"
#include "collective.h"
#include "comm_thread.h"
#include "inter_node_link.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "mpi_transfers.h"
#include "node_transfers.h"
#include "window_book.h"

namespace levin::detail {

/// Collectives over several hosts, in two levels: shared windows inside a node, MPI between the nodes' leaders. Operations run in order on
/// each rank's communication thread, if MPI's thread level allows it. Every operation starts with an exchange that detects ranks that
/// disagree. Data move in chunks: each rank of a node sums a slice into the leader's window, the leaders exchange, and all ranks copy the
/// result. Partial sums of fp16 and bf16 are fp32. Leaders exchange directly and sum in node order; an all_reduce over more than
/// `direct_hosts` nodes uses MPI's. Chunks grow with the number of nodes. Point-to-point messages travel through windows inside a node, and
/// through MPI between nodes.
class HierarchicalCommunicator final : public Communicator {
 public:
  /// Duplicates `ranks`; `node` is the group of the ranks on this host. A communicator split from `origin` shares its bridge. Collective.
  HierarchicalCommunicator(MPI_Comm ranks, std::unique_ptr<NodeGroup> node, bool threaded, int direct_hosts,
                           const HierarchicalCommunicator* origin = nullptr);
  ~HierarchicalCommunicator() override;

  uint64_t sequence() const noexcept override { return sequence_.load(std::memory_order_relaxed); }
  using Communicator::all_to_all;
  Work all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) override;
  Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) override;
  Work all_gather(const Tensor& output, const Tensor& input, std::string_view label) override;
  Work gather_shared(const Tensor& whole, std::string_view label) override;
  Work broadcast(const Tensor& tensor, int root, std::string_view label) override;
  Work all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input, std::span<const int64_t> input_counts,
                  std::string_view label) override;
  Work transfer(std::span<const Transfer> transfers, std::string_view label) override;
  void barrier(std::string_view label) override;
  Tensor allocate(int64_t numel, at::ScalarType dtype) override;
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(const std::string& reason) noexcept override;
  NodeGroup* node() noexcept override { return node_.get(); }

 private:
  /// `count` elements, at `from` in a tensor and `to` in a chunk.
  struct Piece {
    size_t from, to, count;
  };

  void find_hosts();
  void make_area();
  void idle();
  /// Assigns the next sequence number.
  Call next(Call call);
  /// Runs a call on the communication thread; match_call and run_messages enter it into the flight record.
  Work run(std::function<void()> operation);
  /// Checks that all ranks are in this call, and locates their tensors. This and the functions below run on the communication thread.
  void match_call(const Call& call, const Tensor* tensor = nullptr);
  [[noreturn]] void throw_disagreement(const Call& call);
  /// Returns the leader's value on all ranks of the node.
  template <class T>
  T from_leader(const T& mine);
  /// Throws on all ranks if the counts of any pair differ.
  void check_pairs(const Tensor& sent, const Tensor& expected, const Call& call);
  /// Moves the data of all_to_all.
  void exchange_parts(const Tensor& output, const std::vector<int64_t>& expected, const Tensor& input, const std::vector<int64_t>& sent,
                      std::string_view label);
  Message message(bool sends, const Tensor& tensor, int peer, std::string_view label) const;
  void run_messages(const std::vector<Message>& messages);
  /// Whether `good` holds on all ranks.
  bool all_good(bool good);

  bool leads() const noexcept { return link_ != nullptr; }
  bool direct_sums() const noexcept { return static_cast<int>(hosts_.size()) <= direct_hosts_; }
  size_t local_size() const noexcept { return hosts_[host_].size(); }
  std::byte* stage(size_t local_rank) const { return area_->part(static_cast<int>(local_rank)); }
  std::byte* partial() const { return area_->part(0) + chunk_bytes_; }     // of the leader
  std::byte* result() const { return area_->part(0) + 2 * chunk_bytes_; }  // of the leader

  /// partial() <- op over the ranks of the node of the pieces of `input`.
  void sum_in_node(const Tensor& input, std::span<const Piece> pieces, ReduceOp op);
  struct Cut {
    size_t begin, count;
  };
  /// On leaders, a reduce-scatter over the hosts: host i reduces cut i of `partials` (in elements) into `output`.
  void sum_between(const std::byte* partials, const std::vector<Cut>& cuts, std::byte* output, at::ScalarType dtype, ReduceOp op);
  /// On leaders, an all-reduce of `partials` over the hosts into `output`.
  void all_reduce_between(const std::byte* partials, size_t count, std::byte* output, at::ScalarType dtype, ReduceOp op);
  /// received_, enlarged to at least `bytes`.
  std::byte* receive_buffer(size_t bytes);
  /// Whether MPI can use `tensor` without a copy: this rank is alone on its host, and sums need no wider dtype.
  bool direct(const Tensor& tensor);
  /// Implements all_gather and gather_shared. A shared `output` is written once per node.
  void gather(const Tensor& output, const Tensor& input, bool shared);

  std::shared_ptr<NodeGroup> node_;  // for the caller's thread
  std::unique_ptr<NodeGroup> lane_;  // for the communication thread
  bool threaded_;
  int direct_hosts_;
  MPI_Comm ranks_ = MPI_COMM_NULL;
  std::vector<std::vector<int>> hosts_;  // ranks of each host in local order; hosts ordered by first rank
  size_t host_ = 0, local_rank_ = 0;
  std::vector<int> local_ranks_;         // by rank: local rank on this node, or -1
  std::unique_ptr<InterNodeLink> link_;  // only on leaders
  std::shared_ptr<AbortBridge> bridge_;
  std::shared_ptr<SharedWindow> area_;
  size_t chunk_bytes_ = 0;
  std::shared_ptr<std::vector<std::byte>> received_;
  Tensor in_flight_;  // the tensor that MPI uses without a copy
  WindowBook book_;
  std::vector<std::byte*> addresses_;  // tensors of the node's ranks, if all can be read in place; else empty
  std::unique_ptr<NodeTransfers> node_transfers_;
  std::unique_ptr<MpiTransfers> mpi_transfers_;
  std::atomic<uint64_t> sequence_{0};
  std::shared_ptr<CallSlot> calls_;
  std::unique_ptr<CommThread> thread_;
};

}  // namespace levin::detail
