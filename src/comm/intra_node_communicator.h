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

/// Collectives inside one node, through shared windows and flags only. Every collective starts with an exchange of headers, which is its
/// first barrier and detects ranks that disagree before data move. Data then take one of three paths:
/// - small: through double-buffered slots, so that the exchange of headers is the only barrier;
/// - in place: tensors in windows of allocate() are read and written directly;
/// - staged: other tensors are copied through a staging window in chunks.
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
  /// The header of a call, which must be equal on all ranks, and the locations of this rank's tensors.
  struct Header {
    CallHeader call;
    uint64_t offsets[2];
    uint32_t windows[2];
  };
  static_assert(sizeof(Header) <= 56);  // travels in the flag's cache line
  using Pointers = std::vector<std::byte*>;

  /// Exchanges headers, and throws if the ranks disagree.
  void match_call(Call call, const Tensor* first = nullptr, const Tensor* second = nullptr);
  /// Sets `addresses` to every rank's first (`which` = 0) or second (1) tensor of the call, and returns true, if all lie in one window.
  bool find_shared(const Tensor& tensor, size_t which, Pointers& addresses) const;
  /// Sets `addresses` to every rank's slot for this collective, and returns true, if `bytes` fit.
  bool use_slots(size_t bytes, Pointers& addresses) const;
  /// Sets `addresses` to every rank's staging buffer for chunk `number` of this collective.
  void use_stage(size_t number, Pointers& addresses) const;
  /// Creates the staging window at its first use, with smaller chunks if shared memory is short.
  void prepare_stage();
  void all_reduce_staged(std::byte* data, size_t count, at::ScalarType dtype, ReduceOp op);
  /// Publishes this rank's counts; all ranks may read them after the next exchange.
  void publish_counts(std::span<const int64_t> sent, std::span<const int64_t> expected);
  /// Returns the largest part of all ranks; throws on all ranks if the counts of any pair differ.
  int64_t check_published(std::span<const int64_t> sent, std::span<const int64_t> expected, const Call& call);

  std::unique_ptr<NodeGroup> group_;
  std::shared_ptr<CallSlot> calls_;
  std::atomic<uint64_t> sequence_{0};
  std::vector<Header> headers_;
  WindowBook book_;
  std::shared_ptr<SharedWindow> slots_, stage_;
  size_t stage_bytes_ = 0, stage_offset_ = 0;  // size and offset of a chunk
  std::vector<int64_t*> counts_;               // by rank: counts of all_to_all, [sent, expected], double-buffered
  std::unique_ptr<NodeTransfers> transfers_;
};

}  // namespace levin::detail
