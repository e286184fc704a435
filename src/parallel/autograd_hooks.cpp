#include "autograd_hooks.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

#include "flat_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"

namespace levin::detail {

// One forward of a unit that has a backward.
struct UnitHooks::Call {
  int open_inputs = 0;  // inputs whose gradients are not complete
  bool begun = false;   // its backward
};

UnitHooks::UnitHooks(StepSchedule& schedule, UnitBase& unit, size_t index, std::string name)
    : schedule_(schedule), unit_(std::static_pointer_cast<UnitBase>(unit.shared_from_this())), index_(index), name_(std::move(name)) {
  unit.attach(this);
}

UnitHooks::~UnitHooks() {
  if (const auto unit = unit_.lock()) unit->attach(nullptr);
}

void UnitHooks::enter(const Tensors& for_each_input) {
  const bool in_backward = torch::autograd::get_current_graph_task_id() != -1;  // it is repeated
  calls_.push_back(at::GradMode::is_enabled() && schedule_.reshards(index_) ? std::make_shared<Call>() : nullptr);
  schedule_.enter(index_, /*forward=*/!in_backward);
  if (const auto call = calls_.back())
    for_each_input([&](const Tensor& input) {
      if (!input.requires_grad()) return;
      call->open_inputs++;
      input.register_hook([this, call](const Tensor&) { after_input(*call); });
    });
}

void UnitHooks::leave(const Tensors& for_each_output) {
  const auto call = std::move(calls_.back());
  calls_.pop_back();
  if (call)
    for_each_output([&](const Tensor& output) {
      if (output.requires_grad()) output.register_hook([this, call](const Tensor&) { before_backward(*call); });
    });
  schedule_.leave(index_, /*has_backward=*/call != nullptr);
}

void UnitHooks::before_backward(Call& call) {
  if (at::GradMode::is_enabled())  // the graph of this backward would read parameters that are resharded by then
    throw UsageError("parallel",
                     fmt::format("a gradient of a gradient (create_graph) through unit \"{}\", whose parameters are sharded", name_),
                     "train such a model with strategy ddp, zero1 or zero2");
  schedule_.unshard(index_);
  if (!std::exchange(call.begun, true)) schedule_.begin_unit_backward(index_, /*ends=*/call.open_inputs > 0);
}

void UnitHooks::after_input(Call& call) {
  if (--call.open_inputs == 0 && call.begun) schedule_.end_unit_backward(index_);
}

void UnitHooks::repeated() {
  calls_.pop_back();
  schedule_.repeated(index_);
}

struct GradientHooks::Hook : torch::autograd::PostAccumulateGradHook {
  Hook(StepSchedule& schedule, size_t group, size_t member) : schedule(schedule), group(group), member(member) {}
  void operator()(const torch::autograd::Variable&) override { schedule.gradient_ready(group, member); }
  StepSchedule& schedule;
  size_t group, member;
};

GradientHooks::GradientHooks(StepSchedule& schedule, const std::vector<FlatGroup>& groups) : groups_(groups) {
  for (size_t g = 0; g < groups_.size(); g++)
    for (size_t m = 0; groups_[g].trained() && m < groups_[g].members().size(); m++)
      torch::autograd::impl::set_post_acc_grad_hooks(groups_[g].members()[m], std::make_unique<Hook>(schedule, g, m));
}

GradientHooks::~GradientHooks() {
  for (const auto& group : groups_)
    if (group.trained())
      for (const auto& member : group.members()) torch::autograd::impl::set_post_acc_grad_hooks(member, nullptr);
}

}  // namespace levin::detail
