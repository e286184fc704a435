#include "levin/parallel/group_optimizer.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "layer_wise_update.h"
#include "levin/core/error.h"
#include "levin/optim/clip.h"
#include "levin/optim/torch_optimizer.h"

namespace levin {

GroupOptimizer::GroupOptimizer(const OptimizerSpec* spec, std::vector<FlatGroup*> groups, const std::vector<NamedParameter>& parameters,
                               const std::vector<SegmentOptions>& options)
    : spec_(spec),
      optimizer_(spec && !spec->factory ? FlatOptimizer::create(spec->optimizer) : nullptr),
      groups_(std::move(groups)),
      options_(options) {
  for (const auto& parameter : parameters) names_.push_back(parameter.name);
  std::vector<Tensor> tensors;  // that are trained, in the model's order
  for (auto* group : groups_) {
    if (!group->trained()) continue;
    trained_.push_back(group);
    if (optimizer_) group->make_optimizer_state(*optimizer_);
  }
  if (!spec_ || !spec_->factory) return;
  if (!spec_->rules.empty())
    throw UsageError("parallel", fmt::format("{} rules by parameter name for a custom optimizer", spec_->rules.size()),
                     "make groups in its factory instead");
  std::vector<bool> ours(parameters.size());
  for (const auto* group : trained_)
    for (const auto& placement : group->layout().placements) ours[static_cast<size_t>(placement.parameter)] = true;
  for (size_t i = 0; i < parameters.size(); i++)
    if (ours[i]) tensors.push_back(parameters[i].tensor);
  custom_ = std::make_unique<TorchOptimizer>(spec_->factory, tensors);
}

GroupOptimizer::GroupOptimizer(GroupOptimizer&&) noexcept = default;
GroupOptimizer::~GroupOptimizer() = default;

double GroupOptimizer::base_lr() const { return custom_ ? custom_->base_lrs().front() : spec_ ? levin::base_lr(spec_->optimizer) : 0; }

std::vector<SegmentOptions> GroupOptimizer::segment_options() const {
  std::vector<SegmentOptions> found;
  if (custom_) {
    for (const double lr : custom_->base_lrs()) found.push_back({lr, 0});
    return found;
  }
  std::set<int> used;
  for (const auto* group : trained_)
    for (const auto& segment : group->layout().segments) used.insert(segment.options);
  for (const int one : used) found.push_back(options_[static_cast<size_t>(one)]);
  return found;
}

void GroupOptimizer::settle(std::vector<size_t>* absent) {
  for (auto* group : groups_) group->settle(names_, absent);
}

void GroupOptimizer::scale_gradients(double scale) {
  next_gradient_scale_ = scale;
  if (scale == gradient_scale_ || std::any_of(trained_.begin(), trained_.end(), [](const auto* group) { return group->reducing(); }))
    return;
  if (backwards_ > 0)
    for (auto* group : trained_) group->scale_gradients(scale / gradient_scale_);
  gradient_scale_ = scale;
}

void GroupOptimizer::start_reduce() {
  for (size_t i = trained_.size(); i-- > 0;) trained_[i]->start_reduce();
}

void GroupOptimizer::reduce(double factor) {
  at::NoGradGuard no_grad;
  for (auto* group : trained_) {
    group->reduce(factor);
    for (const auto& [parameter, range] : group->layout().placements)  // earlier micro-batches may have given it a gradient
      if (const Range mine = intersect(range, group->owned()); freezes(parameter) && mine.size() > 0)
        group->mean().narrow(0, mine.begin - group->owned().begin, mine.size()).zero_();
  }
}

double GroupOptimizer::squared_norm() const {
  std::vector<Tensor> means;
  for (const auto* group : trained_) means.push_back(group->mean());
  return levin::squared_norm(means);
}

void GroupOptimizer::clip_by_norm(double total_norm, double max_norm) {
  for (auto* group : trained_) levin::clip_by_norm(group->mean(), total_norm, max_norm);
}

void GroupOptimizer::clip_by_value(double limit) {
  for (auto* group : trained_) levin::clip_by_value(group->mean(), limit);
}

// What a slice's update may change, in pieces around its frozen parameters; the pieces' states are views, and their counters copies.
std::vector<FlatGroup::Slice> GroupOptimizer::trained_parts(const FlatGroup& group, const FlatGroup::Slice& slice) const {
  const Range whole = slice.segment.range;
  std::vector<FlatGroup::Slice> parts;
  const auto add = [&](Range range) {
    if (range.size() <= 0) return;
    const auto cut = [&](const Tensor& tensor) { return tensor.narrow(0, range.begin - whole.begin, range.size()); };
    FlatGroup::Slice part{{slice.segment.options, range}, cut(slice.parameters), cut(slice.gradients), {}};
    for (const auto& tensor : slice.state.tensors) part.state.tensors.push_back(cut(tensor));
    part.state.step = slice.state.step.clone();
    if (slice.state.device_step.defined()) part.state.device_step = slice.state.device_step.clone();
    parts.push_back(std::move(part));
  };
  int64_t begin = whole.begin;
  for (const auto& [parameter, range] : group.layout().placements) {
    const Range frozen = intersect(range, whole);
    if (!freezes(parameter) || frozen.size() == 0) continue;
    add({begin, frozen.begin});
    begin = frozen.end;
  }
  add({begin, whole.end});
  return parts;
}

// LibTorch's optimizers pass over a parameter without a gradient. The number of steps is one for all, frozen or not.
void GroupOptimizer::step_custom(const std::function<double(double)>& schedule) {
  std::vector<std::pair<Tensor, Tensor>> hidden;
  for (const auto* group : trained_)
    for (size_t i = 0; i < group->members().size(); i++)
      if (freezes(group->layout().placements[i].parameter)) {
        auto& gradient = group->members()[i].mutable_grad();
        hidden.emplace_back(group->members()[i], std::exchange(gradient, Tensor()));
      }
  custom_->step(schedule);
  for (const auto& [member, gradient] : hidden) member.mutable_grad() = gradient;
  if (!hidden.empty() && custom_->keeps_state())
    if (const int64_t steps = custom_->steps(); steps > 0) custom_->set_steps(steps);
}

void GroupOptimizer::update(const std::function<double(double)>& schedule, const std::function<void(const Tensor&)>& sum_over_parts) {
  at::NoGradGuard no_grad;
  const auto options_of = [&](const FlatGroup::Slice& slice) {
    const auto& base = options_[static_cast<size_t>(slice.segment.options)];
    return SegmentOptions{schedule(base.lr), base.weight_decay};
  };
  for (auto* group : trained_) group->begin_update();
  std::vector<std::vector<FlatGroup::Slice>> pieces;  // of slices with frozen parameters
  std::vector<GroupSlice> slices;
  for (auto* group : trained_)
    for (auto& slice : group->slices()) {
      const auto& placements = group->layout().placements;
      if (!optimizer_ || std::none_of(placements.begin(), placements.end(), [&](const auto& place) {
            return freezes(place.parameter) && intersect(place.range, slice.segment.range).size() > 0;
          })) {
        slices.push_back({group, &slice});
        continue;
      }
      for (auto& part : pieces.emplace_back(trained_parts(*group, slice))) slices.push_back({group, &part});
      slice.state.step.add_(1);
      if (slice.state.device_step.defined()) slice.state.device_step.add_(1);
    }
  if (custom_) {
    step_custom(schedule);
  } else if (const auto* layer_wise = dynamic_cast<const LayerWiseOptimizer*>(optimizer_.get())) {
    update_layer_wise(*layer_wise, slices, names_.size(), options_of, sum_over_parts);
  } else if (optimizer_) {
    std::vector<SliceUpdate> updates;
    for (const auto& [group, slice] : slices) {
      const auto [lr, weight_decay] = options_of(*slice);
      updates.push_back({slice->parameters, slice->gradients, slice->state, lr, weight_decay});
    }
    optimizer_->step_all(updates);
  }
  for (auto* group : trained_) group->end_update();
}

void GroupOptimizer::zero_grad() {
  at::NoGradGuard no_grad;
  for (auto* group : groups_) group->zero_grad();
}

std::vector<GradientSlice> GroupOptimizer::gradients() const {
  std::vector<GradientSlice> slices;
  for (const auto* group : trained_)
    for (const auto& [parameter, range] : group->layout().placements) {
      const Range owned = group->owned(), mine = intersect(range, owned);
      if (mine.size() == 0) continue;
      slices.push_back({names_[static_cast<size_t>(parameter)], group->mean().narrow(0, mine.begin - owned.begin, mine.size()),
                        mine.begin - range.begin});
    }
  return slices;
}

void GroupOptimizer::add_state(StateUse use, const std::string& prefix, const std::vector<NamedParameter>& parameters,
                               std::vector<StateTensor>& all) const {
  for (const auto* group : trained_) {
    const Range wanted = group->optimizer_state_for(use);
    for (const auto& placement : group->layout().placements) {
      const Range range = placement.range;
      const auto& [name, tensor] = parameters[static_cast<size_t>(placement.parameter)];
      // Values of the elements `its` of the group, where they are this parameter's and wanted.
      const auto add = [&](StateTensor& state, Range its, const Tensor& values) {
        const Range part = intersect(intersect(range, its), wanted);
        if (part.size() > 0) state.parts.push_back({part.begin - range.begin, values.narrow(0, part.begin - its.begin, part.size())});
      };
      const auto names = optimizer_ ? optimizer_->state_names() : std::vector<std::string>();
      for (size_t i = 0; i < names.size(); i++) {
        StateTensor state{fmt::format("{}{}/{}", prefix, names[i], name), group->layout().dtype, tensor.sizes().vec()};
        for (const auto& slice : group->slices()) add(state, slice.segment.range, slice.state.tensors[i]);
        all.push_back(std::move(state));
      }
      if (!custom_) continue;
      for (const auto& [state_name, values] : custom_->state_of(tensor)) {
        StateTensor state{fmt::format("{}{}/{}", prefix, state_name, name), values.scalar_type(), tensor.sizes().vec()};
        add(state, range, values.view(-1));
        all.push_back(std::move(state));
      }
    }
  }
}

// All slices have taken the same steps; a rank may have none.
int64_t GroupOptimizer::steps() const {
  if (custom_) return custom_->steps();
  for (const auto* group : trained_)
    for (const auto& slice : group->slices()) return static_cast<int64_t>(slice.state.step.item<double>());
  return 0;
}

void GroupOptimizer::set_steps(int64_t steps) {
  if (custom_) custom_->set_steps(steps);
  for (auto* group : trained_)
    for (auto& [segment, its_parameters, gradients, state] : group->slices())
      for (const auto* count : {&state.step, &state.device_step})
        if (count->defined()) count->fill_(steps);
}

}  // namespace levin
