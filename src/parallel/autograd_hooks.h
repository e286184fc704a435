#pragma once
#include <memory>
#include <string>
#include <vector>

#include "levin/nn/unit_engine.h"
#include "step_schedule.h"

namespace levin {
class UnitBase;
class FlatGroup;
}  // namespace levin

namespace levin::detail {

/// Reports a unit's forward and backward to the schedule. Its backward begins with the first gradient of an output, and ends when the
/// gradients of all its inputs are complete; so frozen units, units that are called twice and inputs without gradients need no special
/// cases.
class UnitHooks final : public UnitEngine {
 public:
  /// `index` is the schedule's, `name` the unit's, for errors. `schedule` must outlive it.
  UnitHooks(StepSchedule& schedule, UnitBase& unit, size_t index, std::string name);
  ~UnitHooks() override;
  UnitHooks(const UnitHooks&) = delete;
  UnitHooks& operator=(const UnitHooks&) = delete;

  void enter(const Tensors& for_each_input) override;
  void leave(const Tensors& for_each_output) override;
  void will_repeat() override { schedule_.will_repeat(index_); }
  void repeated() override;

 private:
  struct Call;
  void before_backward(Call& call);
  void after_input(Call& call);

  StepSchedule& schedule_;
  std::weak_ptr<UnitBase> unit_;
  size_t index_;
  std::string name_;
  std::vector<std::shared_ptr<Call>> calls_;  // entered and not left; null: without a backward
};

/// Reports the gradients of flat groups' parameters to the schedule as autograd completes them.
class GradientHooks {
 public:
  /// `groups` are in the schedule's order. They and `schedule` must outlive it.
  GradientHooks(StepSchedule& schedule, const std::vector<FlatGroup>& groups);
  ~GradientHooks();
  GradientHooks(const GradientHooks&) = delete;
  GradientHooks& operator=(const GradientHooks&) = delete;

 private:
  struct Hook;
  const std::vector<FlatGroup>& groups_;
};

}  // namespace levin::detail
