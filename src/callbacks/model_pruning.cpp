#include "levin/callbacks/model_pruning.h"

#include <ATen/ops/arange.h>
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
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/mix_seed.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

bool is_structured(PruningMethod method) { return method == PruningMethod::ln_structured || method == PruningMethod::random_structured; }

// Of `left` elements or slices; rounded as Python does.
int64_t pruned_number(const Limit& amount, int64_t left, const std::string& what) {
  if (amount.is_fraction()) return static_cast<int64_t>(std::nearbyint(amount.number() * static_cast<double>(left)));
  const auto number = static_cast<int64_t>(amount.number());
  if (number > left)
    throw ConfigError(fmt::format("{} of {} are to be pruned, and {} are left", number, what, left), "prune a part such as 0.2, or fewer",
                      "callbacks");
  return number;
}

// Non-negative integers in the order of absolute values; NaN comes last.
Tensor magnitude_keys(const Tensor& values) {
  const Tensor flat = values.detach().contiguous().view(-1);
  if (flat.scalar_type() == at::kDouble) return flat.abs().view(at::kLong);
  return flat.abs().to(at::kFloat).view(at::kInt).to(at::kLong);
}

// The same for elements begin … begin + count - 1, by a draw.
Tensor random_keys(uint64_t seed, int64_t begin, int64_t count, const at::Device& device) {
  Tensor keys = at::empty({count}, at::TensorOptions(at::kLong));
  auto* key = keys.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; i++) key[i] = static_cast<int64_t>(mix_seed(seed ^ mix_bits(static_cast<uint64_t>(begin + i))) >> 1);
  return keys.to(device);
}

// Smallest value from `low` on for which `enough` holds, for each pool at once: enough(values) is collective.
std::vector<int64_t> bisect(std::vector<int64_t> high, const std::function<std::vector<char>(const std::vector<int64_t>&)>& enough) {
  std::vector<int64_t> low(high.size(), 0);
  while (low != high) {
    std::vector<int64_t> middle(low.size());
    for (size_t i = 0; i < low.size(); i++) middle[i] = low[i] + (high[i] - low[i]) / 2;
    const auto holds = enough(middle);
    for (size_t i = 0; i < low.size(); i++)
      if (low[i] < high[i]) holds[i] ? high[i] = middle[i] : low[i] = middle[i] + 1;
  }
  return low;
}

std::string_view name_in_model(std::string_view name) {
  constexpr std::string_view prefix = "model/";
  return name.starts_with(prefix) ? name.substr(prefix.size()) : std::string_view();
}

}  // namespace

/// The masks of the shards that this rank updates, and what it takes to compute them.
class ModelPruning::Masks {
 public:
  Masks(Session& session, const ModelPruningConfig& config) : session_(session), config_(config) {
    for (const auto& [name, tensor] : session.strategy().parameters())
      if (std::any_of(config.parameters_to_prune.begin(), config.parameters_to_prune.end(),
                      [&, &name = name](const std::string& pattern) { return matches(pattern, name); }))
        parameters_.push_back({.name = name});
    for (const auto& tensor : session.strategy().state(StateUse::save, /*weights_only=*/true))
      if (auto* parameter = find(name_in_model(tensor.name))) parameter->shape = tensor.shape;
    int64_t position = 0;
    for (auto& parameter : parameters_) {
      parameter.numel = std::accumulate(parameter.shape.begin(), parameter.shape.end(), int64_t{1}, std::multiplies<>());
      parameter.position = std::exchange(position, position + parameter.numel);
      check_shape(parameter);
    }
    if (parameters_.empty())
      throw ConfigError(fmt::format("no parameter matches {}", fmt::join(config.parameters_to_prune, ", ")),
                        "give parameters_to_prune patterns of the model's parameter names", "callbacks");
    for (const auto& slice : session.parameter_slices()) {
      const auto* parameter = find(slice.name);
      shards_.push_back({.parameter = parameter,
                         .offset = slice.offset,
                         .mask = parameter ? at::ones({slice.slice.numel()}, slice.slice.options().dtype(at::kBool)) : Tensor()});
    }
    if (config.use_lottery_ticket_hypothesis) keep_first_values();
  }

  bool any() const noexcept { return any_; }
  int64_t numel() const noexcept { return parameters_.back().position + parameters_.back().numel; }

  int64_t pruned() { return numel() - sum_of_one(left_by(&Masks::whole)); }

  void prune(const Limit& amount, uint64_t seed) {
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

  // Collective.
  void apply() {
    assign([](const Shard& shard, const Tensor& values) { return values.mul(shard.mask); });
  }

  void apply_to_gradients(size_t optimizer) {
    const at::NoGradGuard no_grad;
    for (auto& gradient : session_.gradients(optimizer))
      if (const auto* shard = shard_of(gradient.name, gradient.offset, gradient.slice.numel()))
        gradient.slice.mul_(shard->mask.narrow(0, gradient.offset - shard->offset, gradient.slice.numel()));
  }

  void report(const Log& log) {
    const auto left = sum(left_by(&Masks::by_parameter));
    for (size_t i = 0; i < parameters_.size(); i++)
      log.info("[callbacks] {}: {} of {} elements are pruned", parameters_[i].name, parameters_[i].numel - left[i], parameters_[i].numel);
  }

  // Each element once, in parts that have their ranges beside them: the number of ranks may change.
  StateDict state() {
    StateDict state;
    state.set("any", any_);
    if (any_) add_parts(state, "mask", &Shard::mask);
    if (config_.use_lottery_ticket_hypothesis) add_parts(state, "first", &Shard::first);
    return state;
  }
  void load(const StateDict& state) {
    any_ = state.get<bool>("any");
    if (any_) take_parts(state, "mask", &Shard::mask);
    if (config_.use_lottery_ticket_hypothesis && state.contains("first/" + parameters_.front().name))
      take_parts(state, "first", &Shard::first);
  }

 private:
  struct Parameter {
    std::string name;
    std::vector<int64_t> shape = {};
    int64_t numel = 0, position = 0;  // among all that are pruned
  };
  // A range of a flattened parameter; of one that is not pruned, nothing more.
  struct Shard {
    const Parameter* parameter = nullptr;
    int64_t offset = 0;
    Tensor mask = {}, first = {};
  };
  // What this rank contributes to sums over all ranks.
  struct Part {
    const Parameter* parameter;
    int64_t offset;
    Tensor values, mask;
  };

  Parameter* find(std::string_view name) {
    const auto found = std::find_if(parameters_.begin(), parameters_.end(), [&](const auto& parameter) { return parameter.name == name; });
    return found == parameters_.end() ? nullptr : &*found;
  }
  size_t index_of(const Parameter* parameter) const { return static_cast<size_t>(parameter - parameters_.data()); }

  void check_shape(const Parameter& parameter) const {
    if (!is_structured(config_.pruning_fn)) return;
    if (std::ssize(parameter.shape) < 2 || *config_.pruning_dim >= std::ssize(parameter.shape))
      throw ConfigError(fmt::format("{} has {} dimensions, and slices along dimension {} are to be pruned", parameter.name,
                                    parameter.shape.size(), *config_.pruning_dim),
                        "leave it out of parameters_to_prune: slices need two dimensions at least", "callbacks");
  }

  void keep_first_values() {
    const at::NoGradGuard no_grad;
    const auto slices = session_.parameter_slices();
    for (size_t i = 0; i < shards_.size(); i++)
      if (shards_[i].parameter) shards_[i].first = slices[i].slice.clone();
  }

  const Shard* shard_of(std::string_view name, int64_t offset, int64_t count) const {
    for (const auto& shard : shards_)
      if (shard.parameter && shard.parameter->name == name && shard.offset <= offset && offset + count <= shard.offset + shard.mask.numel())
        return &shard;
    return nullptr;
  }

  void assign(const std::function<Tensor(const Shard&, const Tensor&)>& value_of) {
    const at::NoGradGuard no_grad;
    std::vector<Tensor> values;
    const auto slices = session_.parameter_slices();
    for (size_t i = 0; i < slices.size(); i++)
      values.push_back(shards_[i].parameter ? value_of(shards_[i], slices[i].slice) : slices[i].slice);
    session_.strategy().assign_parameter_slices(values);
  }

  // Those of all ranks have every element once.
  std::vector<Part> parts() {
    std::vector<Part> all;
    for (const auto& tensor : session_.strategy().state(StateUse::save, /*weights_only=*/true)) {
      const auto* parameter = find(name_in_model(tensor.name));
      if (!parameter) continue;
      for (const auto& part : tensor.parts) {
        const int64_t offset = part.slab.offset.front(), count = part.slab.extent.front();
        const auto* shard = shard_of(parameter->name, offset, count);
        if (!shard) throw Error(ExitCode::internal, "callbacks", fmt::format("a part of {} is not this rank's", parameter->name));
        all.push_back({parameter, offset, part.values.view(-1), shard->mask.narrow(0, offset - shard->offset, count)});
      }
    }
    return all;
  }

  size_t whole(const Parameter*) const { return 0; }
  size_t by_parameter(const Parameter* parameter) const { return index_of(parameter); }
  using Pooling = size_t (Masks::*)(const Parameter*) const;
  size_t pools(Pooling pool) const { return pool == &Masks::whole ? 1 : parameters_.size(); }

  std::vector<int64_t> sum(std::vector<int64_t> values) { return all_sum(session_.communicator(), std::move(values)); }
  int64_t sum_of_one(std::vector<int64_t> values) { return sum(std::move(values)).front(); }
  std::vector<int64_t> left_by(Pooling pool) {
    std::vector<int64_t> left(pools(pool));
    for (const auto& part : parts()) left[(this->*pool)(part.parameter)] += part.mask.sum().item<int64_t>();
    return left;
  }

  Tensor keys_of(const Parameter& parameter, int64_t offset, const Tensor& values, uint64_t seed) const {
    return config_.pruning_fn == PruningMethod::l1_unstructured
               ? magnitude_keys(values)
               : random_keys(seed, parameter.position + offset, values.numel(), values.device());
  }

  // The k smallest keys of each pool: those below a threshold, and of those equal to it the first.
  void prune_elements(const Limit& amount, uint64_t seed) {
    const Pooling pool = config_.use_global_unstructured ? &Masks::whole : &Masks::by_parameter;
    const size_t count = pools(pool);
    const auto left = sum(left_by(pool));
    std::vector<int64_t> wanted;
    for (size_t i = 0; i < count; i++)
      wanted.push_back(pruned_number(amount, left[i], count == 1 ? "all elements" : "the elements of " + parameters_[i].name));

    struct Keys {
      size_t pool;
      Tensor keys, positions;  // of elements that are left
    };
    std::vector<Keys> all;
    std::vector<int64_t> most(count, 0);
    for (const auto& part : parts()) {
      const Tensor left_here = part.mask.nonzero().view(-1);
      Keys keys{(this->*pool)(part.parameter), keys_of(*part.parameter, part.offset, part.values, seed).index_select(0, left_here),
                left_here.add(part.parameter->position + part.offset)};
      if (keys.keys.numel() > 0) most[keys.pool] = std::max(most[keys.pool], keys.keys.max().item<int64_t>());
      all.push_back(std::move(keys));
    }
    most = all_max(session_.communicator(), most);
    const auto count_where = [&](const std::vector<int64_t>& bounds, const std::function<Tensor(const Keys&, int64_t)>& condition) {
      std::vector<int64_t> counts(count);
      for (const auto& keys : all)
        if (keys.keys.numel() > 0) counts[keys.pool] += condition(keys, bounds[keys.pool]).sum().item<int64_t>();
      return sum(counts);
    };
    const auto reaches = [&](const std::vector<int64_t>& counts, const std::vector<int64_t>& targets) {
      std::vector<char> holds;
      for (size_t i = 0; i < count; i++) holds.push_back(static_cast<char>(counts[i] >= targets[i]));
      return holds;
    };
    const auto thresholds = bisect(most, [&](const std::vector<int64_t>& keys_at_most) {
      return reaches(count_where(keys_at_most, [](const Keys& keys, int64_t bound) { return keys.keys.le(bound); }), wanted);
    });
    auto ties = count_where(thresholds, [](const Keys& keys, int64_t bound) { return keys.keys.lt(bound); });
    for (size_t i = 0; i < count; i++) ties[i] = wanted[i] - ties[i];
    const auto ends = bisect(std::vector<int64_t>(count, numel()), [&](const std::vector<int64_t>& positions) {
      const auto before = count_where(thresholds, [&](const Keys& keys, int64_t bound) {
        return keys.keys.eq(bound).logical_and_(keys.positions.lt(positions[keys.pool]));
      });
      return reaches(before, ties);
    });

    const auto slices = session_.parameter_slices();
    for (size_t i = 0; i < shards_.size(); i++) {
      auto& shard = shards_[i];
      if (!shard.parameter) continue;
      const size_t own = (this->*pool)(shard.parameter);
      if (wanted[own] == 0) continue;
      const Tensor keys = keys_of(*shard.parameter, shard.offset, slices[i].slice, seed);
      const int64_t begin = shard.parameter->position + shard.offset;
      const int64_t before_end = std::clamp<int64_t>(ends[own] - begin, 0, keys.numel());
      Tensor pruned = keys.lt(thresholds[own]);
      pruned.narrow(0, 0, before_end).logical_or_(keys.narrow(0, 0, before_end).eq(thresholds[own]));
      shard.mask.logical_and_(pruned.logical_not());
    }
  }

  // Slices along pruning_dim, whose norms need whole parameters.
  void prune_slices(const Limit& amount, uint64_t seed) {
    const auto dim = *config_.pruning_dim;
    std::vector<std::vector<char>> gone(parameters_.size());
    session_.read_parameters([&](const std::string& name, const Tensor& values) {
      const auto* parameter = find(name);
      if (!parameter) return;
      const Tensor rows =
          values.detach().view(parameter->shape).transpose(0, dim).contiguous().view({parameter->shape[static_cast<size_t>(dim)], -1});
      constexpr int64_t columns = 1;
      const Tensor norms =
          rows.to(at::kDouble).norm(at::Scalar(config_.pruning_norm.value_or(2)), at::IntArrayRef(columns), /*keepdim=*/false).cpu();
      const auto count = norms.numel();
      std::vector<int64_t> left;
      for (int64_t i = 0; i < count; i++)
        if (const auto& already = gone_slices_[parameter->name]; already.empty() || !already[static_cast<size_t>(i)]) left.push_back(i);
      std::vector<double> keys(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; i++)
        keys[static_cast<size_t>(i)] =
            config_.pruning_fn == PruningMethod::ln_structured
                ? norms.const_data_ptr<double>()[i]
                : static_cast<double>(mix_seed(seed ^ mix_bits(static_cast<uint64_t>(parameter->position + i))) >> 12);
      std::stable_sort(left.begin(), left.end(),
                       [&](int64_t a, int64_t b) { return keys[static_cast<size_t>(a)] < keys[static_cast<size_t>(b)]; });
      auto& slices = gone[index_of(parameter)];
      slices.assign(static_cast<size_t>(count), 0);
      const auto number = pruned_number(amount, std::ssize(left), "the slices of " + name);
      for (int64_t i = 0; i < number; i++) slices[static_cast<size_t>(left[static_cast<size_t>(i)])] = 1;
    });
    for (auto& shard : shards_)
      if (shard.parameter) prune_slices_of(shard, gone[index_of(shard.parameter)]);
    for (size_t i = 0; i < parameters_.size(); i++) {
      auto& all = gone_slices_[parameters_[i].name];
      all.resize(gone[i].size());
      for (size_t slice = 0; slice < all.size(); slice++) all[slice] = static_cast<char>(all[slice] | gone[i][slice]);
    }
  }

  void prune_slices_of(Shard& shard, const std::vector<char>& gone) const {
    const auto& shape = shard.parameter->shape;
    const auto dim = static_cast<size_t>(*config_.pruning_dim);
    const int64_t inner =
        std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(dim) + 1, shape.end(), int64_t{1}, std::multiplies<>());
    const Tensor slices = at::arange(shard.offset, shard.offset + shard.mask.numel(), shard.mask.options().dtype(at::kLong))
                              .div_(inner, "floor")
                              .remainder_(shape[dim]);
    Tensor pruned = at::zeros({std::ssize(gone)}, at::TensorOptions(at::kBool));
    for (size_t i = 0; i < gone.size(); i++) pruned.mutable_data_ptr<bool>()[i] = gone[i] != 0;
    shard.mask.logical_and_(pruned.to(shard.mask.device()).index_select(0, slices).logical_not_());
  }

  // Not below the name of the tensor, which is a data set.
  static std::string ranges_of(const std::string& kind, const Parameter& parameter) { return kind + "_ranges/" + parameter.name; }

  void add_parts(StateDict& state, const std::string& kind, Tensor Shard::*values) {
    std::vector<std::vector<Tensor>> rows(parameters_.size());
    std::vector<std::vector<int64_t>> ranges(parameters_.size());
    for (const auto& part : parts()) {
      const auto* shard = shard_of(part.parameter->name, part.offset, part.mask.numel());
      const size_t i = index_of(part.parameter);
      rows[i].push_back((shard->*values).narrow(0, part.offset - shard->offset, part.mask.numel()).cpu());
      ranges[i].insert(ranges[i].end(), {part.offset, part.mask.numel()});
    }
    const auto dtype = [&] {
      for (const auto& shard : shards_)
        if (shard.parameter) return (shard.*values).scalar_type();
      return at::kFloat;
    }();
    for (size_t i = 0; i < parameters_.size(); i++) {
      const auto name = kind + "/" + parameters_[i].name;
      state.set(name, StateDict::RankRows{rows[i].empty() ? at::empty({0}, at::TensorOptions(dtype)) : at::cat(rows[i])});
      state.set(ranges_of(kind, parameters_[i]), StateDict::RankRows{at::tensor(ranges[i], at::TensorOptions(at::kLong)).view({-1, 2})});
    }
  }

  void take_parts(const StateDict& state, const std::string& kind, Tensor Shard::*values) {
    for (const auto& parameter : parameters_) {
      const auto name = kind + "/" + parameter.name;
      const Tensor rows = state.get<Tensor>(name), ranges = state.get<Tensor>(ranges_of(kind, parameter)).contiguous();
      if (rows.numel() != parameter.numel || ranges.dim() != 2 || ranges.size(1) != 2 || ranges.scalar_type() != at::kLong)
        throw DataError(fmt::format("the {} of {} does not fit the model", kind, parameter.name), "resume with the model that wrote it",
                        "callbacks");
      Tensor whole = at::empty_like(rows);
      int64_t row = 0;
      for (int64_t i = 0; i < ranges.size(0); i++) {
        const int64_t offset = ranges.const_data_ptr<int64_t>()[2 * i], count = ranges.const_data_ptr<int64_t>()[2 * i + 1];
        whole.narrow(0, offset, count).copy_(rows.narrow(0, row, count));
        row += count;
      }
      for (auto& shard : shards_)
        if (shard.parameter == &parameter)
          shard.*values = whole.narrow(0, shard.offset, shard.mask.numel()).to(shard.mask.device(), /*non_blocking=*/false, /*copy=*/true);
      if (is_structured(config_.pruning_fn) && kind == "mask") take_slices(parameter, whole);
    }
  }

  void take_slices(const Parameter& parameter, const Tensor& mask) {
    const auto dim = *config_.pruning_dim;
    const Tensor left =
        mask.view(parameter.shape).transpose(0, dim).contiguous().view({parameter.shape[static_cast<size_t>(dim)], -1}).any(1);
    auto& gone = gone_slices_[parameter.name];
    gone.resize(static_cast<size_t>(left.numel()));
    for (size_t i = 0; i < gone.size(); i++) gone[i] = static_cast<char>(!left.const_data_ptr<bool>()[i]);
  }

  Session& session_;
  const ModelPruningConfig& config_;
  std::vector<Parameter> parameters_;
  std::vector<Shard> shards_;                             // in the order of parameter_slices
  std::map<std::string, std::vector<char>> gone_slices_;  // of structured methods, the same on all ranks
  bool any_ = false;
};

void ModelPruningConfig::validate() const {
  if (parameters_to_prune.empty())
    throw ConfigError("model pruning without parameters_to_prune", "give patterns such as [\"*weight\"]", "callbacks");
  if (!is_structured(pruning_fn)) return;
  if (use_global_unstructured)
    throw ConfigError(fmt::format("{} with use_global_unstructured", enum_name(pruning_fn)),
                      "slices are pruned in each parameter: set it to false", "callbacks");
  if (!pruning_dim || *pruning_dim < 0)
    throw ConfigError(fmt::format("{} without a pruning_dim", enum_name(pruning_fn)), "give one, such as 0", "callbacks");
  if (pruning_fn == PruningMethod::ln_structured && !pruning_norm)
    throw ConfigError("ln_structured without a pruning_norm", "give one, such as 2", "callbacks");
}

ModelPruning::ModelPruning(const ModelPruningConfig& config) : config_(config) { check_config(config_); }
ModelPruning::~ModelPruning() = default;

void ModelPruning::setup(Stage) {
  masks_.reset();
  last_step_ = -1;
}

// A state that was loaded has made the masks.
void ModelPruning::on_fit_start() {
  if (!masks_) masks_ = std::make_unique<Masks>(trainer().session(), config_);
}

void ModelPruning::on_before_optimizer_step(std::string_view optimizer) {
  auto& session = trainer().session();
  if (masks_ && masks_->any() && !optimizer.empty()) masks_->apply_to_gradients(session.optimizer_index(optimizer));
}

void ModelPruning::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (std::exchange(last_step_, step) != step && masks_->any()) masks_->apply();
}

void ModelPruning::on_train_epoch_end() {
  const auto [done, total] = trainer().batch_progress();
  const bool complete = total == 0 || done == total;  // one that max_steps cuts short resumes
  if (complete && should_prune(trainer().current_epoch())) prune(trainer().current_epoch());
}

void ModelPruning::prune(int64_t epoch) {
  auto& session = trainer().session();
  masks_->prune(amount(epoch), mix_seed(session.seed() ^ mix_bits(static_cast<uint64_t>(epoch))));
  const int64_t count = masks_->pruned(), all = masks_->numel();
  trainer().log_metrics({{"pruned", static_cast<double>(count) / static_cast<double>(all)}});
  session.runtime().log().info("[callbacks] {} of {} elements are pruned", count, all);
  if (config_.verbose) masks_->report(session.runtime().log());
}

int64_t ModelPruning::pruned() { return masks_ ? masks_->pruned() : 0; }
int64_t ModelPruning::prunable() const noexcept { return masks_ ? masks_->numel() : 0; }

StateDict ModelPruning::state_dict() const { return masks_ ? masks_->state() : StateDict(); }

void ModelPruning::load_state_dict(const StateDict& state) {
  masks_ = std::make_unique<Masks>(trainer().session(), config_);
  masks_->load(state);
}

}  // namespace levin
