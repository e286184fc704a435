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

/// Collectives among the ranks of several hosts, in two levels: shared windows inside a node, MPI between the nodes' leaders. Operations
/// run in order on a communication thread of each rank, where MPI allows one. Every operation starts with a meeting that finds ranks which
/// disagree. Data go in chunks: the node's ranks sum, each a slice, into the leader's window; the leaders exchange; all take the result.
/// Partial sums of halves stay in fp32. Up to `direct_hosts` nodes the leaders exchange directly and sum in the order of the nodes; more
/// use MPI's reductions, and chunks that grow with the nodes. Messages go from rank to rank: by windows inside a node, by MPI between.
class HierarchicalCommunicator final : public Communicator {
 public:
  /// Takes a duplicate of `ranks`. `node` are those on this host. Collective. One that is split from another has that one's bridge.
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
  /// Elements of a tensor, and where they go in a chunk.
  struct Piece {
    size_t from, to, count;
  };

  void find_hosts();
  void make_area();
  void idle();
  /// The call with the next sequence number.
  Call next(Call call);
  /// Checks that all ranks are in this call, and notes where their tensors are. On the communication thread, as all below.
  void match_call(const Call& call, const Tensor* tensor = nullptr);
  [[noreturn]] void throw_disagreement(const Call& call);
  /// The same value on all ranks of the node: the leader's.
  template <class T>
  T from_leader(const T& mine);
  /// Throws on all ranks where a pair's counts differ.
  void check_pairs(const Tensor& sent, const Tensor& expected, const Call& call);
  /// all_to_all's data.
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
  std::byte* partial() const { return area_->part(0) + chunk_bytes_; }     // the leader's
  std::byte* result() const { return area_->part(0) + 2 * chunk_bytes_; }  // the leader's

  /// partial() <- op over the node's ranks of the pieces of `input`.
  void sum_in_node(const Tensor& input, std::span<const Piece> pieces, ReduceOp op);
  struct Cut {
    size_t begin, count;
  };
  /// Leader: cut i of `partials` (elements) is summed over the hosts on host i, where it is finished in `output`.
  void sum_between(const std::byte* partials, const std::vector<Cut>& cuts, std::byte* output, at::ScalarType dtype, ReduceOp op);
  /// Leader: all of `partials` is summed over the hosts on each, and finished in `output`.
  void all_reduce_between(const std::byte* partials, size_t count, std::byte* output, at::ScalarType dtype, ReduceOp op);
  /// received_, with room for this.
  std::byte* receive_buffer(size_t bytes);
  /// Whether `tensor` can be given to MPI as it is: this rank is alone on its host, and sums need no wider dtype.
  bool direct(const Tensor& tensor);
  /// Both all-gathers. A shared `output` is written once a node.
  void gather(const Tensor& output, const Tensor& input, bool shared);

  std::shared_ptr<NodeGroup> node_;  // of the caller's thread
  std::unique_ptr<NodeGroup> lane_;  // of the communication thread
  bool threaded_;
  int direct_hosts_;
  MPI_Comm ranks_ = MPI_COMM_NULL;
  std::vector<std::vector<int>> hosts_;  // their ranks in local order, in the order of the first
  size_t host_ = 0, local_rank_ = 0;
  std::vector<int> local_ranks_;         // by rank: its number in this node, or -1
  std::unique_ptr<InterNodeLink> link_;  // of leaders
  std::shared_ptr<AbortBridge> bridge_;
  std::shared_ptr<SharedWindow> area_;
  size_t chunk_bytes_ = 0;
  std::shared_ptr<std::vector<std::byte>> received_;
  Tensor in_flight_;  // what MPI uses directly
  WindowBook book_;
  std::vector<std::byte*> addresses_;  // of the node's ranks' tensors, where all can be read in place
  std::unique_ptr<NodeTransfers> node_transfers_;
  std::unique_ptr<MpiTransfers> mpi_transfers_;
  std::atomic<uint64_t> sequence_{0};
  std::unique_ptr<CommThread> thread_;
};

}  // namespace levin::detail
