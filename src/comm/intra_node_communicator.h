#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "collective.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "node_transfers.h"
#include "window_book.h"

namespace levin::detail {

/// Collectives among the ranks of one node, through shared windows and flags alone. Every collective starts with an exchange of headers,
/// which is its first barrier and finds ranks that disagree before data moves. Then data takes one of three ways:
/// - small: through slots, two in turn, so that the header's barrier is the only one;
/// - in place: tensors in allocate()'s windows are read and written where they are;
/// - staged: other tensors go through a staging window in chunks.
/// Every call runs on the caller's thread and is complete when it returns.
class IntraNodeCommunicator final : public Communicator {
 public:
  explicit IntraNodeCommunicator(std::unique_ptr<NodeGroup> group);
  ~IntraNodeCommunicator() override;

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
  void abort(const std::string& reason) noexcept override { group_->abort(reason); }
  NodeGroup* node() noexcept override { return group_.get(); }

 private:
  /// What a rank is about to do, which all ranks must have in common, and where its tensors lie.
  struct Header {
    CallHeader call;
    uint64_t offsets[2];
    uint32_t windows[2];
  };
  static_assert(sizeof(Header) <= 56);  // travels in the flag's cache line
  using Pointers = std::vector<std::byte*>;

  /// Exchanges headers, and throws when the ranks disagree.
  void match_call(Call call, const Tensor* first = nullptr, const Tensor* second = nullptr);
  /// Fills `addresses` with every rank's address of the call's first (0) or second (1) tensor, when all lie in one window.
  bool find_shared(const Tensor& tensor, size_t which, Pointers& addresses) const;
  /// `addresses` becomes every rank's slot for the next collective.
  bool use_slots(size_t bytes, Pointers& addresses) const;
  /// Every rank's staging buffer for the number-th chunk of this collective.
  void use_stage(size_t number, Pointers& addresses) const;
  /// Makes the staging window at its first use: small memories get small chunks.
  void prepare_stage();
  void all_reduce_staged(std::byte* data, size_t count, at::ScalarType dtype, ReduceOp op);
  /// This rank's counts, which all ranks may read from the next meeting on.
  void publish_counts(std::span<const int64_t> sent, std::span<const int64_t> expected);
  /// The largest part of all; throws on all ranks where a pair's counts differ.
  int64_t check_published(std::span<const int64_t> sent, std::span<const int64_t> expected, const Call& call);

  std::unique_ptr<NodeGroup> group_;
  std::atomic<uint64_t> sequence_{0};
  std::vector<Header> headers_;
  WindowBook book_;
  std::shared_ptr<SharedWindow> slots_, stage_;
  size_t stage_bytes_ = 0, stage_offset_ = 0;  // of a chunk
  std::vector<int64_t*> counts_;               // every rank's, of all_to_all: two in turn of [sent, expected]
  std::unique_ptr<NodeTransfers> transfers_;
};

}  // namespace levin::detail
