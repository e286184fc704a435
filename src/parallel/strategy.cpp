#include "levin/parallel/strategy.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "../comm/call_log.h"
#include "levin/comm/mesh.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/nn/unit.h"
#include "model_checks.h"
#include "strategy_engine.h"

namespace levin {

Strategy::Strategy(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Strategy::~Strategy() = default;

const ShardingPlan& Strategy::plan() const noexcept { return engine_->plan; }
const MemoryMeter& Strategy::memory() const noexcept { return engine_->meter; }
c10::Device Strategy::device() const noexcept { return engine_->communicator->device(); }
double Strategy::gradient_scale() const noexcept { return engine_->gradient_scale.host; }
const std::vector<NamedParameter>& Strategy::parameters() const noexcept { return engine_->parameters; }
const std::vector<std::weak_ptr<UnitBase>>& Strategy::units() const noexcept { return engine_->units; }
double Strategy::base_lr(size_t optimizer) const { return engine_->optimizers[optimizer].base_lr(); }
void Strategy::set_base_lr(double lr, size_t optimizer) {
  const double before = base_lr(optimizer);
  std::visit([lr](auto& config) { config.lr = lr; }, engine_->specs.at(optimizer).optimizer);
  engine_->optimizers[optimizer].replace_lr(before, lr);
}
std::vector<ParameterGroupOptions> Strategy::parameter_group_options(size_t optimizer) const {
  return engine_->optimizers[optimizer].parameter_group_options();
}
const TorchOptimizer* Strategy::custom_optimizer(size_t optimizer) const noexcept { return engine_->optimizers[optimizer].custom(); }
int64_t Strategy::optimizer_steps(size_t optimizer) const { return engine_->optimizers[optimizer].steps(); }

std::vector<Strategy::GroupStatus> Strategy::groups() const {
  std::vector<GroupStatus> status;
  for (const auto& group : engine_->groups) status.push_back({group.store().unsharded(), group.reducing()});
  return status;
}

std::vector<double> Strategy::Engine::exchange(const std::vector<double>& values) {
  if (mesh->size() == 1) return values;
  std::vector<double> all(values.size() * static_cast<size_t>(mesh->size()));
  auto& host = mesh->world().cpu();
  if (auto* node = host.node(); node && node->size() == host.size()) {
    if (!exchange_slot) exchange_slot = node->flight().add_communicator();
    const CallSlot::Scope call_scope(*exchange_slot);
    exchange_slot->begin("exchange", ++exchanges, static_cast<int64_t>(values.size()), "Double", "the agreement of the ranks");
    node->exchange(values, all);
  } else {
    const auto view = [](const std::vector<double>& numbers) {
      return at::from_blob(const_cast<double*>(numbers.data()), {static_cast<int64_t>(numbers.size())}, at::kDouble);
    };
    host.all_gather(view(all), view(values)).wait();
  }
  return all;
}

double Strategy::Engine::sum_over_loss(const std::vector<double>& all, size_t values_per_rank) const {
  double sum = 0;
  for (const int rank : mesh->loss().members) sum += all[static_cast<size_t>(rank) * values_per_rank];
  return sum;
}

std::vector<const Communicator*> Strategy::Engine::compared_communicators() const {
  const auto& [all, shard, replicas] = ranks.communicators();
  return {all, shard, replicas};
}

double Strategy::Engine::call_hash() const { return detail::combined_call_hash(compared_communicators()); }

void Strategy::Engine::check_same_calls(const std::vector<double>& all) {
  const auto hash_of = [&](int rank) { return all[static_cast<size_t>(rank + 1) * StepSchedule::synchronize_values - 1]; };
  const auto& members = mesh->loss().members;
  if (std::all_of(members.begin(), members.end(), [&](int rank) { return hash_of(rank) == hash_of(members.front()); })) return;
  detail::throw_call_disagreement(*communicator, compared_communicators(), hash_of(mesh->rank()));
}

void Strategy::Engine::sum_over_shards(const Tensor& values) {
  if (!plan.shards_updates()) return;
  if (values.is_cpu() && values.numel() == 1) {  // one number is quicker as an exchange of all ranks, of which replicas have the same
    values.fill_(sum_over_loss(exchange({values.item<double>()}), 1) / plan.replicas());
    return;
  }
  auto& shard = *ranks.communicators().shard;
  (values.is_cpu() ? shard.cpu() : shard).all_reduce(values).wait();
}

// A number on a device is rounded to the dtype that it is multiplied with, an argument is not.
bool Strategy::Engine::keeps_factor_on_device() const {
  return !communicator->device().is_cpu() &&
         std::none_of(groups.begin(), groups.end(), [](const auto& group) { return at::isReducedFloatingType(group.layout().dtype); });
}

std::vector<size_t> Strategy::Engine::active_optimizers() const {
  std::vector<size_t> active;
  for (size_t i = 0; i < optimizers.size(); i++)
    if (toggled.value_or(i) == i) active.push_back(i);
  return active;
}

void Strategy::backward(const Tensor& loss, double weight) {
  if (!loss.defined() || loss.numel() != 1 || !loss.requires_grad())
    throw UsageError("parallel",
                     !loss.defined()     ? std::string("the loss is an undefined tensor")
                     : loss.numel() != 1 ? fmt::format("the loss has {} elements, must have one", loss.numel())
                                         : std::string("the loss does not depend on a parameter that requires a gradient"),
                     "return the mean loss over the batch from training_step");
  auto& engine = *engine_;
  const auto active = engine.active_optimizers();
  if (std::any_of(active.begin(), active.end(), [&](size_t i) { return engine.optimizers[i].reducing(); }))
    throw UsageError("parallel", "a backward after the one that was to be the last of its step",
                     "call expect_step before the last one only");
  // A rank alone needs no common unit of weight: it takes its first micro-batch's, so that one micro-batch is a plain backward.
  const auto fresh = [](const GroupOptimizer& optimizer) { return optimizer.weight() == 0; };
  if (engine.communicator->size() == 1 && weight > 0 && std::all_of(engine.optimizers.begin(), engine.optimizers.end(), fresh))
    engine.unit = weight;
  // On a rank whose loss leaves out a parameter, a reduction would start after statistics that it precedes on the others.
  auto ending = std::exchange(engine.expected, {});
  if (SyncBatchNorm::Scope::is_open()) ending.clear();
  engine.schedule->begin_backward(active, ending);
  const double seed = weight / engine.unit * engine.gradient_scale.host;
  if (const auto& scale = engine.gradient_scale.device; scale.defined())
    loss.backward(scale.mul(seed).to(loss.scalar_type()).view(loss.sizes()));
  else if (seed == 1)
    loss.backward();
  else
    loss.backward(at::scalar_tensor(seed, loss.options().requires_grad(false)).view(loss.sizes()));
  for (const size_t i : active) engine.optimizers[i].check_in_place();
  engine.schedule->end_backward(active);
  if (const auto absent = engine.actions.take_absent(); !absent.empty()) check_absent(absent, loss);
  if (!std::exchange(engine.searched[engine.toggled.value_or(0)], char{1})) engine.warn_of_unregistered(loss);
  engine.backward_done = true;
  for (const size_t i : active) engine.optimizers[i].count(weight);
}

// With several optimizers a backward for one may well leave out the parameters of the others.
void Strategy::check_absent(const std::vector<size_t>& absent, const Tensor& loss) {
  auto& engine = *engine_;
  const bool suspicious = engine.optimizers.size() == 1;
  detail::check_not_replaced(engine.parameters, absent, engine.module.lock().get(), suspicious ? loss : Tensor());
  if (!suspicious || engine.mesh->rank() != 0 || !engine.backward_done || std::exchange(engine.warned_of_absent, true)) return;
  engine.log.warning(
      "[parallel] parameter {} takes no part in the loss any more; where a tensor was assigned to a module's member, write into the "
      "parameter inside write_parameters instead",
      detail::name_and_shape(engine.parameters[absent.front()]));
}

void Strategy::scale_gradients(double scale, const Tensor& on_device) {
  engine_->gradient_scale = {scale, on_device};
  for (auto& optimizer : engine_->optimizers) optimizer.scale_gradients(engine_->gradient_scale);
}

void Strategy::toggle(std::optional<size_t> optimizer) {
  auto& engine = *engine_;
  for (const auto& tensor : engine.toggled_off) tensor.set_requires_grad(true);
  engine.toggled_off.clear();
  engine.toggled = optimizer;
  if (!optimizer) return;
  for (size_t i = 0; i < engine.optimizers.size(); i++)
    for (const auto* group : engine.optimizers[i].groups())
      if (i != *optimizer && group->trained())
        std::copy_if(group->members().begin(), group->members().end(), std::back_inserter(engine.toggled_off),
                     [](const Tensor& tensor) { return tensor.requires_grad(); });
  for (const auto& tensor : engine.toggled_off) tensor.set_requires_grad(false);
}

void Strategy::checkpoint_activations(ActivationCheckpointing kind) {
  for (const auto& unit : engine_->tree.units)
    if (unit.unit && unit.parent == 0) unit.unit->checkpoint_activations(kind);
}

void Strategy::expect_step(size_t optimizer) { engine_->expected.push_back(optimizer); }

StepTotals Strategy::synchronize_step(uint32_t signals, size_t optimizer) {
  auto& engine = *engine_;
  auto& ours = engine.optimizers[optimizer];
  ours.check_in_place();
  engine.refuse_unfrozen();
  auto frozen = engine.frozen_parameters(optimizer);
  const double frozen_hash = frozen.empty() ? 0 : static_cast<double>(XXH3_64bits(frozen.data(), frozen.size()) >> 12) + 1;
  std::vector<double> all;
  engine.schedule->synchronize(optimizer, [&] {
    all = engine.exchange({ours.weight(), static_cast<double>(signals), static_cast<double>(optimizer), frozen_hash, engine.call_hash()});
  });
  StepTotals totals;
  bool same_frozen = true;
  for (size_t i = 0; i < all.size(); i += StepSchedule::synchronize_values) {
    totals.signals |= static_cast<uint32_t>(all[i + 1]);
    if (const auto other = static_cast<size_t>(all[i + 2]); other != optimizer) {
      const auto names = optimizer_names(engine.specs);
      throw UsageError("parallel",
                       fmt::format("rank {} takes a step of the optimizer \"{}\", rank {} of \"{}\"", engine.mesh->rank(), names[optimizer],
                                   i / StepSchedule::synchronize_values, names[other]),
                       "take the same steps in the same order on all ranks, whatever their data");
    }
    same_frozen = same_frozen && all[i + 3] == all[3];
  }
  engine.check_same_calls(all);
  totals.weight = engine.sum_over_loss(all, StepSchedule::synchronize_values);
  if (!same_frozen) {
    frozen.resize(engine.parameters.size());
    detail::refuse_frozen(frozen, engine.parameters, engine.mesh->world());
  }
  ours.freeze(std::move(frozen));
  return totals;
}

uint32_t Strategy::combine_signals(uint32_t signals) {
  engine_->ranks.synchronize_shards();
  uint32_t all = 0;
  for (const double value : engine_->exchange({static_cast<double>(signals)})) all |= static_cast<uint32_t>(value);
  return all;
}

void Strategy::reduce(const StepTotals& totals, size_t optimizer, Accumulation accumulation) {
  if (!(totals.weight > 0))
    throw UsageError("parallel", fmt::format("a step with a total weight of {}", totals.weight), "skip the step: no rank had a sample");
  auto& gradients = engine_->optimizers[optimizer];
  const double calls = accumulation == Accumulation::sum ? static_cast<double>(gradients.backwards()) : 1;
  const auto& [scale, scale_on_device] = gradients.gradient_scale();
  double factor = calls * engine_->unit / (totals.weight * scale);
  Tensor on_device = scale_on_device.defined() ? scale_on_device.reciprocal() : Tensor();
  if (factor != 1 && engine_->keeps_factor_on_device()) {
    const Tensor& number = engine_->mean_factor.set(std::exchange(factor, 1), device());
    on_device = on_device.defined() ? on_device.mul(number) : number;
  }
  engine_->actions.set_device_factor(on_device);
  engine_->schedule->reduce(optimizer, factor);
  gradients.zero_frozen_gradients();
  gradients.forget_weights();
}

Tensor Strategy::grad_norm(size_t optimizer) {
  const Tensor squares = engine_->optimizers[optimizer].squared_norm();
  engine_->sum_over_shards(squares);
  return squares.sqrt();
}

void Strategy::clip_by_norm(const Tensor& total_norm, double max_norm, size_t optimizer) {
  engine_->optimizers[optimizer].clip_by_norm(total_norm, max_norm);
}

void Strategy::clip_by_value(double limit, size_t optimizer) { engine_->optimizers[optimizer].clip_by_value(limit); }

std::vector<GradientSlice> Strategy::gradients(size_t optimizer) { return engine_->optimizers[optimizer].gradients(); }

void Strategy::update(const std::function<double(double)>& schedule, size_t optimizer, const Tensor& skip) {
  auto& engine = *engine_;
  engine.schedule->update(optimizer, [&] {
    engine.optimizers[optimizer].update(
        schedule, [&](const Tensor& squares) { engine.sum_over_shards(squares); }, skip);
  });
}

bool Strategy::skips_on_device() const {
  const auto& engine = *engine_;
  return !engine.communicator->device().is_cpu() && !engine.plan.options.offload_optimizer && !engine.plan.options.offload_parameters &&
         std::all_of(engine.optimizers.begin(), engine.optimizers.end(), [](const auto& optimizer) { return optimizer.skips_on_device(); });
}

void Strategy::uncount_update(size_t optimizer) { engine_->optimizers[optimizer].uncount_update(); }

void Strategy::zero_grad(size_t optimizer) {
  std::erase(engine_->expected, optimizer);
  engine_->schedule->reset(optimizer);
  engine_->optimizers[optimizer].forget_weights();
}

}  // namespace levin
