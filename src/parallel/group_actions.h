#pragma once
#include <vector>

#include "flat_group.h"
#include "step_schedule.h"

namespace levin {

/// Executes a schedule on flat groups.
class GroupActions final : public StepActions {
 public:
  /// All must outlive it; `groups` may be filled later.
  GroupActions(std::vector<FlatGroup>& groups, ProcessGroups& ranks) : groups_(groups), ranks_(ranks) {}

  bool requires_gradient(size_t group, size_t member) const override { return groups_[group].members()[member].requires_grad(); }
  void start_unshard(size_t group) override { groups_[group].store().start_unshard(); }
  void finish_unshard(size_t group) override { groups_[group].store().finish_unshard(); }
  void reshard(size_t group) override { groups_[group].store().reshard(); }
  void collect_gradient(size_t group, size_t member) override { groups_[group].collect_gradient(member); }
  void collect_gradients(size_t group) override { groups_[group].collect_gradients(&absent_); }
  void start_reduce(size_t group) override { groups_[group].start_reduce(); }
  void finish_reduce(size_t group) override { groups_[group].finish_reduce(); }
  void start_sum_over_replicas(size_t group) override { groups_[group].start_sum_over_replicas(); }
  void average(size_t group, double factor) override { groups_[group].average_gradients(factor, device_factor_); }
  void reset_gradients(size_t group) override { groups_[group].reset_gradients(); }
  void start_publish(size_t group) override { published_.push_back(groups_[group].store().publish()); }
  void finish_publish(size_t group) override;
  void barrier() override { ranks_.communicators().all->barrier(); }
  void synchronize_shards() override { ranks_.synchronize_shards(); }

  /// The coming averages are multiplied by it, too; undefined: by nothing.
  void set_device_factor(Tensor factor) { device_factor_ = std::move(factor); }

  /// Parameters that had no gradient for the first time since the last call.
  std::vector<size_t> take_absent() { return std::exchange(absent_, {}); }

 private:
  std::vector<FlatGroup>& groups_;
  ProcessGroups& ranks_;
  std::vector<Work> published_;
  std::vector<size_t> absent_;
  Tensor device_factor_;
};

// All groups' collectives are in flight before the first is waited for.
inline void GroupActions::finish_publish(size_t) {
  for (auto& work : std::exchange(published_, {})) work.wait();
}

}  // namespace levin
