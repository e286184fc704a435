#include "unit_runner.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <utility>

#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "overlap.h"

namespace levin::detail {

// One forward of a unit that has a backward.
struct UnitRunner::Call {
  int open = 0;        // inputs whose gradients are to come
  bool begun = false;  // its backward
};

UnitRunner::UnitRunner(UnitRunners& runners, UnitBase* unit, std::vector<FlatGroup*> groups)
    : runners_(runners), unit_(std::static_pointer_cast<UnitBase>(unit->shared_from_this())), groups_(std::move(groups)) {
  unit->attach(this);
}

UnitRunner::~UnitRunner() {
  if (const auto unit = unit_.lock()) unit->attach(nullptr);
}

void UnitRunner::start_gather() {
  for (auto* group : groups_) group->start_gather();
}

void UnitRunner::gather() {
  start_gather();
  for (auto* group : groups_) group->gather();
}

void UnitRunner::release() {
  if (!calls_.empty()) return;
  active_ = 0;
  for (auto* group : groups_) group->release();
}

void UnitRunner::enter(const Tensors& for_each_input) {
  calls_.push_back(at::GradMode::is_enabled() && !groups_.empty() ? std::make_shared<Call>() : nullptr);
  if (groups_.empty()) return;
  gather();
  runners_.use(*this, /*forward=*/torch::autograd::get_current_graph_task_id() == -1);  // else it is repeated, and units come backwards
  if (const auto call = calls_.back())
    for_each_input([&](const Tensor& input) {
      if (!input.requires_grad()) return;
      call->open++;
      input.register_hook([this, call](const Tensor&) { after_input(*call); });
    });
}

void UnitRunner::leave(const Tensors& for_each_output) {
  const auto call = std::move(calls_.back());
  calls_.pop_back();
  if (groups_.empty()) return;
  if (call)
    for_each_output([&](const Tensor& output) {
      if (output.requires_grad()) output.register_hook([this, call](const Tensor&) { before_backward(*call); });
    });
  if (active_ == 0 && (runners_.options().reshard_after_forward || !call)) release();
}

void UnitRunner::before_backward(Call& call) {
  if (at::GradMode::is_enabled())  // the graph of this backward would read parameters that are resharded by then
    throw UsageError("parallel",
                     fmt::format("a gradient of a gradient (create_graph) through {}, whose parameters are sharded",
                                 groups_.empty() ? "a unit" : groups_.front()->name()),
                     "train such a model with strategy ddp, zero1 or zero2");
  gather();
  if (std::exchange(call.begun, true)) return;
  if (call.open > 0) active_++;
  runners_.use(*this, /*forward=*/false);
}

void UnitRunner::after_input(Call& call) {
  if (--call.open != 0 || !call.begun) return;
  active_--;
  release_if_done();
}

void UnitRunner::release_if_done() {
  if (!calls_.empty() || active_ > 0) return;
  if (std::all_of(groups_.begin(), groups_.end(), [&](const FlatGroup* group) { return runners_.complete(*group); })) release();
}

void UnitRunner::will_repeat() { repeats_++; }

void UnitRunner::repeated() {
  calls_.pop_back();
  repeats_--;
  release_if_done();
  runners_.repeated();
}

UnitRunner* UnitRunners::add(UnitBase* unit, std::vector<FlatGroup*> groups) {
  return runners_.emplace_back(std::make_unique<UnitRunner>(*this, unit, std::move(groups))).get();
}

void UnitRunners::set_overlap(const Overlap* overlap, std::function<void()> look_again) {
  overlap_ = overlap;
  look_again_ = std::move(look_again);
}

bool UnitRunners::complete(const FlatGroup& group) const { return !overlap_ || overlap_->complete(group); }

void UnitRunners::repeated() {
  if (look_again_) look_again_();
}

void UnitRunners::use(const UnitRunner& runner, bool forward) {
  if (options_.prefetch == 0) return;
  const auto found = std::find(order_.begin(), order_.end(), &runner);
  if (forward && std::find(seen_.begin(), seen_.end(), &runner) == seen_.end()) seen_.push_back(const_cast<UnitRunner*>(&runner));
  if (found != order_.end()) ahead(static_cast<size_t>(found - order_.begin()), forward);
}

void UnitRunners::ahead(size_t position, bool forward) {
  for (size_t i = 1; i <= options_.prefetch; i++) {
    if (forward ? position + i >= order_.size() : position < i) return;
    order_[forward ? position + i : position - i]->start_gather();
  }
}

void UnitRunners::release_all() {
  for (const auto& runner : runners_) runner->release();
}

void UnitRunners::start_again() {
  release_all();
  for (const auto& runner : runners_) runner->forget_repeats();
  if (!seen_.empty()) order_ = std::exchange(seen_, {});
}

}  // namespace levin::detail
