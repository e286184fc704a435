#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "collective.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "window_book.h"

namespace levin::detail {

/// Collectives among the ranks of one node, through shared windows and flags alone. Every collective starts with an exchange of headers,
/// which is its first barrier and finds ranks that disagree before data moves. Then data takes one of three ways:
/// - small: through slots, two in turn, so that the header's barrier is the only one;
/// - in place: tensors in allocate()'s windows are read and written where they are;
/// - staged: other tensors go through a staging window in chunks.
class NodeCommunicator final : public Communicator {
 public:
  explicit NodeCommunicator(std::unique_ptr<NodeGroup> group);

  uint64_t sequence() const noexcept override { return sequence_.load(std::memory_order_relaxed); }
  Work all_reduce(const Tensor& tensor, ReduceOp op) override;
  Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op) override;
  Work all_gather(const Tensor& output, const Tensor& input) override;
  Work gather_shared(const Tensor& whole) override;
  Work broadcast(const Tensor& tensor, int root) override;
  void barrier() override;
  Tensor allocate(int64_t numel, at::ScalarType dtype) override;
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(const std::string& reason) noexcept override { group_->abort(reason); }
  NodeGroup* node() noexcept override { return group_.get(); }

 private:
  /// What a rank is about to do, which all ranks must have in common, and where its tensors lie. Seven values: they travel in the flag's
  /// cache line.
  struct Header {
    Call call;
    WindowBook::Place tensors[2];
  };
  using Pointers = std::vector<std::byte*>;

  /// Exchanges headers, and throws when the ranks disagree.
  void meet(double call, int64_t numel, const Tensor* first = nullptr, const Tensor* second = nullptr);
  /// Fills `places` with every rank's address of the collective's first (0) or second (1) tensor, when all lie in one window.
  bool find_shared(const Tensor& tensor, int which, Pointers& places) const;
  /// `places` becomes every rank's slot for the next collective.
  bool use_slots(size_t bytes, Pointers& places) const;
  /// Every rank's staging buffer for the number-th chunk of this collective.
  void use_stage(size_t number, Pointers& places) const;
  /// Makes the staging window at its first use: small memories get small chunks.
  void prepare_stage();
  void all_reduce_staged(std::byte* data, size_t count, at::ScalarType dtype, ReduceOp op);

  std::unique_ptr<NodeGroup> group_;
  std::atomic<uint64_t> sequence_{0};
  std::vector<Header> headers_;
  WindowBook book_;
  std::shared_ptr<SharedWindow> slots_, stage_;
  size_t stage_bytes_ = 0, stage_offset_ = 0;  // of a chunk
};

}  // namespace levin::detail
