#include "pruning_masks.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/log.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/session/session.h"

namespace levin::detail {
namespace {

std::string_view name_in_model(std::string_view name) {
  constexpr std::string_view prefix = "model/";
  return name.starts_with(prefix) ? name.substr(prefix.size()) : std::string_view();
}

// Not below the name of the tensor, which is a data set.
std::string name_of_ranges(const std::string& kind, const std::string& parameter) { return kind + "_ranges/" + parameter; }

// `rows` are those of the ranges [offset, count], one after the other.
Tensor in_order(const Tensor& rows, const Tensor& ranges) {
  Tensor whole = at::empty_like(rows);
  const auto* range = ranges.const_data_ptr<int64_t>();
  int64_t row = 0;
  for (int64_t i = 0; i < ranges.size(0); i++, range += 2) {
    whole.narrow(0, range[0], range[1]).copy_(rows.narrow(0, row, range[1]));
    row += range[1];
  }
  return whole;
}

}  // namespace

PruningMasks::PruningMasks(Session& session, const ModelPruningConfig& config) : session_(session), config_(config) {
  find_parameters();
  check_amount();
  make_shards();
}

// Nothing is pruned yet.
void PruningMasks::check_amount() const {
  const auto check = [&](int64_t most, const std::string& name) {
    if (!config_.apply_pruning || config_.amount.is_fraction() || config_.amount.number() <= static_cast<double>(most)) return;
    throw ConfigError(fmt::format("{} of {} are to be pruned, and no more than {} are left", config_.amount.to_text(), name, most),
                      "prune a part such as 0.2, or fewer", "callbacks");
  };
  if (config_.use_global_unstructured) return check(numel(), "all elements");
  for (const auto& parameter : parameters_)
    if (is_structured(config_.pruning_fn))
      check(parameter.pruned_slices.numel(), "the slices of " + parameter.name);
    else
      check(parameter.numel, "the elements of " + parameter.name);
}

void PruningMasks::find_parameters() {
  const auto& patterns = config_.parameters_to_prune;
  const int64_t dim = is_structured(config_.pruning_fn) ? *config_.pruning_dim : 0;
  const auto frozen = session_.strategy().frozen_parameters();  // their optimizers write them nevertheless
  int64_t position = 0;
  bool any_matches = false;
  for (const auto& named : session_.strategy().parameters()) {
    if (std::none_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return matches(pattern, named.name); })) continue;
    any_matches = true;
    if (!named.tensor.requires_grad() && std::find(frozen.begin(), frozen.end(), named.name) == frozen.end()) continue;
    Parameter parameter{.name = named.name, .shape = named.tensor.sizes().vec()};
    parameter.numel = std::accumulate(parameter.shape.begin(), parameter.shape.end(), int64_t{1}, std::multiplies<>());
    parameter.position = std::exchange(position, position + parameter.numel);
    if (is_structured(config_.pruning_fn)) {
      if (const auto dims = std::ssize(parameter.shape); dims < 2 || dim >= dims)
        throw ConfigError(fmt::format("{} has {} dimensions, and slices along dimension {} are to be pruned", named.name, dims, dim),
                          "leave it out of parameters_to_prune: slices need two dimensions at least", "callbacks");
      parameter.pruned_slices = at::zeros({parameter.shape[static_cast<size_t>(dim)]}, at::TensorOptions(at::kBool));
    }
    parameters_.push_back(std::move(parameter));
  }
  if (parameters_.empty() && any_matches)
    throw ConfigError(fmt::format("no optimizer trains the parameters that match {}", fmt::join(patterns, ", ")),
                      "give parameters_to_prune patterns of trained parameters", "callbacks");
  if (parameters_.empty())
    throw ConfigError(fmt::format("no parameter matches {}", fmt::join(patterns, ", ")),
                      "give parameters_to_prune patterns of the model's parameter names", "callbacks");
}

void PruningMasks::make_shards() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, values, offset] : session_.parameter_slices()) {
    Shard shard{.parameter = find(name), .offset = offset};
    if (shard.parameter) {
      shard.mask = at::ones({values.numel()}, values.options().dtype(at::kBool));
      if (config_.use_lottery_ticket_hypothesis) shard.first = values.clone();
    }
    shards_.push_back(std::move(shard));
  }
}

const PruningMasks::Parameter* PruningMasks::find(std::string_view name) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(), [&](const auto& parameter) { return parameter.name == name; });
  return found == parameters_.end() ? nullptr : &*found;
}

const PruningMasks::Shard* PruningMasks::shard_of(const Parameter* parameter, int64_t offset, int64_t count) const {
  for (const auto& shard : shards_)
    if (parameter && shard.parameter == parameter && shard.offset <= offset && offset + count <= shard.offset + shard.mask.numel())
      return &shard;
  return nullptr;
}

std::vector<PruningMasks::Part> PruningMasks::parts() const {
  std::vector<Part> all;
  for (const auto& tensor : session_.strategy().state(StateUse::save, /*weights_only=*/true)) {
    const auto* parameter = find(name_in_model(tensor.name));
    if (!parameter) continue;
    for (const auto& part : tensor.parts) {
      const int64_t offset = part.slab.offset.front(), count = part.slab.extent.front();
      const auto* shard = shard_of(parameter, offset, count);
      if (!shard) throw Error(ExitCode::internal, "callbacks", fmt::format("a part of {} is not this rank's", parameter->name));
      all.push_back({parameter, offset, part.values.view(-1), shard->mask.narrow(0, offset - shard->offset, count)});
    }
  }
  return all;
}

std::vector<int64_t> PruningMasks::elements_left() const {
  std::vector<int64_t> left(parameters_.size());
  for (const auto& part : parts()) left[index_of(part.parameter)] += part.mask.sum().item<int64_t>();
  return all_sum(session_.communicator(), std::move(left));
}

int64_t PruningMasks::pruned() const {
  const auto left = elements_left();
  return numel() - std::accumulate(left.begin(), left.end(), int64_t{0});
}

void PruningMasks::report(const Log& log) const {
  const auto left = elements_left();
  for (size_t i = 0; i < parameters_.size(); i++)
    log.info("[callbacks] {}: {} of {} elements are pruned", parameters_[i].name, parameters_[i].numel - left[i], parameters_[i].numel);
}

void PruningMasks::prune(const Limit& amount, uint64_t seed) {
  const at::NoGradGuard no_grad;
  if (is_structured(config_.pruning_fn))
    prune_slices(amount, seed);
  else
    prune_elements(amount, seed);
  any_ = true;
  if (config_.use_lottery_ticket_hypothesis)
    assign([](const Shard& shard, const Tensor&) { return shard.first.mul(shard.mask); });
  else
    apply();
}

void PruningMasks::apply() {
  assign([](const Shard& shard, const Tensor& values) { return values.mul(shard.mask); });
}

void PruningMasks::assign(const std::function<Tensor(const Shard&, const Tensor& values)>& value_of) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> values;
  const auto slices = session_.parameter_slices();
  for (size_t i = 0; i < slices.size(); i++)
    values.push_back(shards_[i].parameter ? value_of(shards_[i], slices[i].slice) : slices[i].slice);
  session_.strategy().assign_parameter_slices(values);
}

void PruningMasks::apply_to_gradients(size_t optimizer) const {
  const at::NoGradGuard no_grad;
  for (auto& [name, gradient, offset] : session_.gradients(optimizer))
    if (const auto* shard = shard_of(find(name), offset, gradient.numel()))
      gradient.mul_(shard->mask.narrow(0, offset - shard->offset, gradient.numel()).to(gradient.device()));  // a shard may be offloaded
}

StateDict PruningMasks::state() const {
  StateDict state;
  state.set("any", any_);
  if (any_) add_parts(state, "mask", &Shard::mask);
  if (config_.use_lottery_ticket_hypothesis) add_parts(state, "first", &Shard::first);
  return state;
}

void PruningMasks::load(const StateDict& state) {
  any_ = state.get<bool>("any");
  if (any_) take_parts(state, "mask", &Shard::mask);
  if (config_.use_lottery_ticket_hypothesis && state.contains("first/" + parameters_.front().name))
    take_parts(state, "first", &Shard::first);
}

void PruningMasks::add_parts(StateDict& state, const std::string& kind, Tensor Shard::*values) const {
  std::vector<std::vector<Tensor>> rows(parameters_.size());
  std::vector<std::vector<int64_t>> ranges(parameters_.size());
  for (const auto& part : parts()) {
    const int64_t count = part.mask.numel();
    const auto* shard = shard_of(part.parameter, part.offset, count);
    const size_t i = index_of(part.parameter);
    rows[i].push_back((shard->*values).narrow(0, part.offset - shard->offset, count).cpu());
    ranges[i].insert(ranges[i].end(), {part.offset, count});
  }
  for (size_t i = 0; i < parameters_.size(); i++) {
    const auto& name = parameters_[i].name;
    // The dtype is that of ranks with rows.
    state.set(fmt::format("{}/{}", kind, name),
              StateDict::RankRows{rows[i].empty() ? at::empty({0}, at::TensorOptions(at::kBool)) : at::cat(rows[i])});
    state.set(name_of_ranges(kind, name), StateDict::RankRows{at::tensor(ranges[i], at::TensorOptions(at::kLong)).view({-1, 2})});
  }
}

void PruningMasks::take_parts(const StateDict& state, const std::string& kind, Tensor Shard::*values) {
  for (auto& parameter : parameters_) {
    const auto rows = state.get<Tensor>(kind + "/" + parameter.name);
    const auto ranges = state.get<Tensor>(name_of_ranges(kind, parameter.name)).contiguous();
    if (rows.numel() != parameter.numel || ranges.dim() != 2 || ranges.size(1) != 2 || ranges.scalar_type() != at::kLong)
      throw DataError(fmt::format("the {} of {} does not fit the model", kind, parameter.name), "resume with the model that wrote it",
                      "callbacks");
    const Tensor whole = in_order(rows, ranges);
    for (auto& shard : shards_)
      if (shard.parameter == &parameter)
        shard.*values = whole.narrow(0, shard.offset, shard.mask.numel()).to(shard.mask.device(), /*non_blocking=*/false, /*copy=*/true);
    if (is_structured(config_.pruning_fn) && kind == "mask")
      parameter.pruned_slices = rows_of_slices(parameter, whole).any(1).logical_not();
  }
}

}  // namespace levin::detail
