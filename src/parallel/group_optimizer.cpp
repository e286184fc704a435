#include "group_optimizer.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "../optim/flush_denormals.h"
#include "layer_wise_update.h"
#include "levin/core/error.h"
#include "levin/optim/clip.h"
#include "levin/optim/torch_optimizer.h"

namespace levin {

GroupOptimizer::GroupOptimizer(const OptimizerSpec* spec, std::vector<FlatGroup*> groups, const std::vector<NamedParameter>& parameters,
                               const std::vector<ParameterGroupOptions>& group_options)
    : spec_(spec),
      optimizer_(spec && !spec->factory ? FlatOptimizer::create(spec->optimizer) : nullptr),
      groups_(std::move(groups)),
      group_options_(group_options) {
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
    for (const auto& member : group->layout().parameters) ours[static_cast<size_t>(member.parameter)] = true;
  for (size_t i = 0; i < parameters.size(); i++)
    if (ours[i]) tensors.push_back(parameters[i].tensor);
  custom_ = std::make_unique<TorchOptimizer>(spec_->factory, tensors);
}

GroupOptimizer::GroupOptimizer(GroupOptimizer&&) noexcept = default;
GroupOptimizer::~GroupOptimizer() = default;

double GroupOptimizer::base_lr() const { return custom_ ? custom_->base_lrs().front() : spec_ ? levin::base_lr(spec_->optimizer) : 0; }

void GroupOptimizer::replace_lr(double before, double lr) {
  if (custom_) return custom_->set_base_lr(lr);
  for (auto& options : group_options_)
    if (options.lr == before) options.lr = lr;
}

std::vector<ParameterGroupOptions> GroupOptimizer::parameter_group_options() const {
  std::vector<ParameterGroupOptions> found;
  if (custom_) {
    for (const double lr : custom_->base_lrs()) found.push_back({lr, 0});
    return found;
  }
  std::set<int> used;
  for (const auto* group : trained_)
    for (const auto& group_range : group->layout().group_ranges) used.insert(group_range.group_id);
  for (const int group_id : used) found.push_back(group_options_[static_cast<size_t>(group_id)]);
  return found;
}

void GroupOptimizer::check_in_place() const {
  for (const auto* group : groups_) group->check_in_place(names_);
}

bool GroupOptimizer::reducing() const {
  return std::any_of(trained_.begin(), trained_.end(), [](const auto* group) { return group->reducing(); });
}

void GroupOptimizer::scale_gradients(const GradientScale& scale) {
  next_gradient_scale_ = scale;
  const bool same_on_device = scale.device.is_same(gradient_scale_.device);
  if ((scale.host == gradient_scale_.host && same_on_device) || reducing()) return;
  Tensor on_device;
  if (!same_on_device && scale.device.defined())
    on_device = gradient_scale_.device.defined() ? scale.device.div(gradient_scale_.device) : scale.device;
  if (backwards_ > 0)
    for (auto* group : trained_) group->scale_gradients(scale.host / gradient_scale_.host, on_device);
  gradient_scale_ = scale;
}

Tensor GroupOptimizer::squared_norm() const {
  std::vector<Tensor> means;
  for (const auto* group : trained_) means.push_back(group->mean());
  return levin::squared_norm(means);
}

void GroupOptimizer::clip_by_norm(const Tensor& total_norm, double max_norm) {
  const Tensor factor = clip_factor(total_norm, max_norm);
  for (auto* group : trained_) scale_slice(group->mean(), factor);
}

void GroupOptimizer::clip_by_value(double limit) {
  for (auto* group : trained_) levin::clip_by_value(group->mean(), limit);
}

// Whether an update is not the same for all parameters of the range.
bool GroupOptimizer::differ(const FlatGroup& group, Range range) const {
  const auto& parameters = group.layout().parameters;
  return std::any_of(parameters.begin(), parameters.end(), [&](const ParameterRange& held) {
    return (freezes(held.parameter) || missed(held.parameter) > 0) && intersect(held.range, range).size() > 0;
  });
}

void GroupOptimizer::zero_frozen_gradients() {
  const at::NoGradGuard no_grad;
  for (auto* group : trained_)
    for (const auto& [parameter, range] : group->layout().parameters)
      if (const Range owned = group->owned(), mine = intersect(range, owned); freezes(parameter) && mine.size() > 0)
        group->mean().narrow(0, mine.begin - owned.begin, mine.size()).zero_();
}

// The elements of a slice in runs of parameters with as many updates, without frozen ones. Their states are views, their counters copies:
// the slice counts for them.
std::vector<FlatGroup::Slice> GroupOptimizer::trained_parts(const FlatGroup& group, const FlatGroup::Slice& slice) const {
  const Range whole = slice.group_range.range;
  std::vector<FlatGroup::Slice> parts;
  int64_t begin = whole.begin, missed_by_run = 0;
  bool has_parameter = false;
  const auto end_run = [&](int64_t end) {
    if (!std::exchange(has_parameter, false)) return;
    const Range range{begin, end};
    const auto cut = [&](const Tensor& tensor) { return tensor.narrow(0, range.begin - whole.begin, range.size()); };
    FlatGroup::Slice part{{slice.group_range.group_id, range}, cut(slice.parameters), cut(slice.gradients), {}};
    for (const auto& tensor : slice.state.tensors) part.state.tensors.push_back(cut(tensor));
    part.state.step = slice.state.step.sub(missed_by_run);
    if (slice.state.device_step.defined()) part.state.device_step = slice.state.device_step.sub(missed_by_run);
    parts.push_back(std::move(part));
  };
  for (const auto& [parameter, range] : group.layout().parameters) {
    const Range held = intersect(range, whole);
    if (held.size() == 0) continue;
    const bool frozen = freezes(parameter);
    if (frozen || missed(parameter) != missed_by_run) {
      end_run(held.begin);
      begin = frozen ? held.end : held.begin;
    }
    if (frozen) continue;
    missed_by_run = missed(parameter);
    has_parameter = true;
  }
  end_run(whole.end);
  return parts;
}

// LibTorch's optimizers leave out a parameter without a gradient.
void GroupOptimizer::step_custom(const std::function<double(double)>& schedule) {
  std::vector<std::pair<Tensor, Tensor>> hidden;
  for (const auto* group : trained_)
    for (size_t i = 0; i < group->members().size(); i++) {
      const auto& member = group->members()[i];
      const int parameter = group->layout().parameters[i].parameter;
      if (freezes(parameter))
        hidden.emplace_back(member, std::exchange(member.mutable_grad(), Tensor()));
      else if (missed(parameter) == custom_updates_)
        custom_->forget_zeros(member);
    }
  custom_->step(schedule);
  for (const auto& [member, gradient] : hidden) member.mutable_grad() = gradient;
  custom_updates_++;
}

// By the parameters; slices have counted for themselves.
void GroupOptimizer::count_update() {
  left_out_ = frozen_;
  if (frozen_.empty()) return;
  missed_.resize(frozen_.size());
  for (size_t i = 0; i < frozen_.size(); i++) missed_[i] += frozen_[i];
}

void GroupOptimizer::uncount_update() {
  for (auto* group : trained_)
    for (auto& slice : group->slices()) slice.state.step.sub_(1);
  for (size_t i = 0; i < left_out_.size(); i++) missed_[i] -= left_out_[i];
  left_out_.clear();
}

// Host memory, where some groups are updated there: with offload_parameters those of units are, and the root unit's are not.
c10::Device GroupOptimizer::update_device() const {
  c10::Device device(c10::kCPU);
  for (const auto* group : trained_)
    if (device = group->update_device(); device.is_cpu()) break;
  return device;
}

// The kernels read an fp32 number: with fp64 parameters the learning rate stays on the host.
Tensor GroupOptimizer::device_lr(const FlatGroup::Slice& slice, double lr) {
  if (slice.parameters.is_cpu() || slice.parameters.scalar_type() == at::kDouble) return {};
  const double base = group_options_[static_cast<size_t>(slice.group_range.group_id)].lr;
  return device_lrs_.try_emplace(base, at::kFloat).first->second.set(lr, slice.parameters.device());
}

void GroupOptimizer::update(const std::function<double(double)>& schedule, const std::function<void(const Tensor&)>& sum_over_shards,
                            const Tensor& skip) {
  at::NoGradGuard no_grad;
  const auto options_of = [&](const FlatGroup::Slice& slice) {
    const auto& base = group_options_[static_cast<size_t>(slice.group_range.group_id)];
    return ParameterGroupOptions{schedule(base.lr), base.weight_decay};
  };
  for (auto* group : trained_) group->begin_update();
  std::vector<std::vector<FlatGroup::Slice>> parts;  // of slices whose parameters differ
  std::vector<GroupSlice> slices;
  for (auto* group : trained_)
    for (auto& slice : group->slices()) {
      if (!optimizer_ || !differ(*group, slice.group_range.range)) {
        slices.push_back({group, &slice});
        continue;
      }
      for (auto& part : parts.emplace_back(trained_parts(*group, slice))) slices.push_back({group, &part});
      slice.state.step.add_(1);
      if (!slice.state.device_step.defined()) continue;
      slice.state.device_step.add_(1);
      if (skip.defined()) slice.state.device_step.sub_(skip);
    }
  std::optional<FlushDenormals> flush_denormals;
  if (optimizer_ && std::ranges::any_of(slices, [](const auto& slice) { return slice.slice->parameters.is_cpu(); }))
    flush_denormals.emplace();
  if (custom_) {
    step_custom(schedule);
  } else if (const auto* layer_wise = dynamic_cast<const LayerWiseOptimizer*>(optimizer_.get())) {
    update_layer_wise(*layer_wise, slices, names_.size(), update_device(), options_of, sum_over_shards, skip);
  } else if (optimizer_) {
    std::vector<SliceUpdate> updates;
    for (const auto& [group, slice] : slices) {
      const auto [lr, weight_decay] = options_of(*slice);
      updates.push_back({slice->parameters, slice->gradients, slice->state, lr, weight_decay, device_lr(*slice, lr)});
    }
    if (skip.defined())
      optimizer_->step_unless(skip, updates);
    else
      optimizer_->step_all(updates);
  }
  flush_denormals.reset();
  count_update();
  for (auto* group : trained_) group->end_update();
}

std::vector<GradientSlice> GroupOptimizer::gradients() const {
  std::vector<GradientSlice> slices;
  for (const auto* group : trained_)
    for (const auto& [parameter, range] : group->layout().parameters) {
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
    const Range needed = group->optimizer_state_for(use);
    for (const auto& member : group->layout().parameters) {
      const Range range = member.range;
      const auto& [name, tensor] = parameters[static_cast<size_t>(member.parameter)];
      // The part of `values`, elements `held` of the group, that belongs to this parameter and is wanted.
      const auto add = [&](StateTensor& state, Range held, const Tensor& values) {
        const Range part = intersect(intersect(range, held), needed);
        if (part.size() > 0)
          state.parts.push_back(
              {Hyperslab::range(part.begin - range.begin, part.end - range.begin), values.narrow(0, part.begin - held.begin, part.size())});
      };
      const auto names = optimizer_ ? optimizer_->state_names() : std::vector<std::string>();
      for (size_t i = 0; i < names.size(); i++) {
        StateTensor state{fmt::format("{}{}/{}", prefix, names[i], name), group->layout().dtype, tensor.sizes().vec()};
        for (const auto& slice : group->slices()) add(state, slice.group_range.range, slice.state.tensors[i]);
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
  if (custom_) return custom_->own_steps().value_or(custom_updates_);
  for (const auto* group : trained_)
    for (const auto& slice : group->slices()) return static_cast<int64_t>(slice.state.step.item<double>());
  return 0;
}

void GroupOptimizer::set_steps(int64_t steps, std::vector<int64_t> missed_updates) {
  missed_ = std::move(missed_updates);
  left_out_.clear();
  if (custom_) {
    custom_updates_ = steps;
    custom_->set_own_steps(steps);
    for (const auto* group : trained_)
      for (size_t i = 0; i < group->members().size(); i++)
        custom_->set_steps(group->members()[i], steps - missed(group->layout().parameters[i].parameter));
  }
  for (auto* group : trained_)
    for (auto& [group_range, shard, gradients, state] : group->slices())
      for (const auto* count : {&state.step, &state.device_step})
        if (count->defined()) count->fill_(steps);
}

}  // namespace levin
