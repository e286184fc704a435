#pragma once
#include <optional>
#include <vector>

#include "flat_buffer.h"
#include "layout.h"
#include "process_groups.h"

namespace levin {

/// Turns this rank's gradients of one flat group into the mean gradient of the elements that it updates. One class per
/// GroupSharding::Reducer. In a step: start, finish once all gradients of a backward are in `gradients`; at its end
/// [start_sum_over_replicas,] average. All ranks call the collective ones for their groups in the same order.
class GradientReducer {
 public:
  /// `gradients` [numel], `mean` [owned]; both in the group's dtype, or `gradients` in the sharding's gradient dtype. Autograd adds the
  /// gradients of further backwards to it, narrower ones, too.
  GradientReducer(Tensor gradients, Tensor mean, GroupCommunicators communicators)
      : gradients_(std::move(gradients)), mean_(std::move(mean)), communicators_(communicators) {}
  virtual ~GradientReducer() = default;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// [numel], the sum over this rank's micro-batches. The tensor and its views stay valid for the reducer's life.
  const Tensor& gradients() const noexcept { return gradients_; }
  /// [owned], after average: the mean gradient. May be an alias of gradients().
  const Tensor& mean() const noexcept { return mean_; }
  /// Whether a reduction was started and not finished: gradients must not be written.
  bool in_flight() const noexcept { return work_ || replicas_work_; }

  /// Gives `gradients` memory, with zeros where no parameter is. Nothing if it has.
  virtual void acquire() {}
  virtual void release() {}
  /// Starts the sum over ranks. Collective.
  virtual void start() = 0;
  /// Waits for it. Returns whether `gradients` lost their memory.
  virtual bool finish();
  /// Starts the sum of `mean` over replicas, where a shard has some. Collective. After the finish of the step's last backward.
  void start_sum_over_replicas();
  /// mean <- sum times `factor`, and times `device_factor` [] on a device, if it is defined. Waits for the sum over replicas.
  virtual void average(double factor, const Tensor& device_factor);
  /// Multiplies the gradients of the step so far by both. Not while in_flight().
  virtual void scale(double factor, const Tensor& device_factor) { multiply(gradients_, factor, device_factor); }
  /// Forgets the gradients of the step; waits for a reduction in flight.
  virtual void reset();

 protected:
  static void multiply(const Tensor& values, double factor, const Tensor& device_factor);

  Tensor gradients_, mean_;
  GroupCommunicators communicators_;
  std::optional<Work> work_, replicas_work_;
};

/// One rank.
class LocalReducer final : public GradientReducer {
 public:
  using GradientReducer::GradientReducer;
  void start() override {}
};

/// Every rank gets the sum of all gradients, in place.
class AllReduceReducer final : public GradientReducer {
 public:
  using GradientReducer::GradientReducer;
  void start() override { work_ = communicators_.shard->all_reduce(gradients_); }
};

/// Every rank gets the sum of its shard.
class ReduceScatterReducer final : public GradientReducer {
 public:
  using GradientReducer::GradientReducer;
  void start() override { work_ = communicators_.shard->reduce_scatter(mean_, gradients_); }
};

/// Gradients lie in windows that the ranks of a node see, and every rank adds up its shard of all of them, in rank order. Peers read this
/// rank's gradients in average, so all ranks synchronize before and after it.
class PeerReadReducer final : public GradientReducer {
 public:
  /// `peers`: the elements that this rank updates, of every rank's gradients, in rank order.
  PeerReadReducer(Tensor gradients, Tensor mean, GroupCommunicators communicators, std::vector<Tensor> peers)
      : GradientReducer(std::move(gradients), std::move(mean), communicators), peers_(std::move(peers)) {}
  void start() override {}
  void average(double factor, const Tensor& device_factor) override;

 private:
  std::vector<Tensor> peers_;
};

/// `gradients` has memory from the first gradient of a backward to the end of the reduction in the same backward; `mean` sums up the shards
/// of a step's backwards.
class ShardedReducer final : public GradientReducer {
 public:
  /// Gradients are summed between ranks in `reduce_dtype`. `ring`: where they are sent from; null: from any memory. `converted` [numel] in
  /// `reduce_dtype`, for gradients in another that are sent from a ring.
  ShardedReducer(FlatBuffer gradients, Tensor mean, GroupCommunicators communicators, const GroupLayout& layout,
                 at::ScalarType reduce_dtype, SlotRing* ring = nullptr, FlatBuffer converted = {});
  void acquire() override;
  void release() override { buffer_.drop(); }
  void start() override;
  bool finish() override;
  void scale(double factor, const Tensor& device_factor) override;
  void reset() override;

 private:
  FlatBuffer buffer_, converted_;
  std::vector<Range> gaps_;  // elements of no parameter
  at::ScalarType reduce_dtype_;
  Tensor sent_, received_;    // in flight
  bool accumulated_ = false;  // earlier backwards are in mean_
};

}  // namespace levin
