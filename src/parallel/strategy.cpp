#include "levin/parallel/strategy.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "model_checks.h"
#include "strategy_parts.h"

namespace levin {
namespace {

// Before all ranks meet: finds a rank of the group that still waits in a unit. On devices it would cost a wait for all that was started.
void meet_group(Communicator* shard) {
  if (shard && shard->device().is_cpu()) shard->barrier();
}

}  // namespace

Strategy::Strategy(Communicator& communicator, int64_t alignment_bytes, Log log)
    : communicator_(&communicator),
      alignment_bytes_(alignment_bytes),
      log_(std::move(log)),
      making_(std::make_unique<Making>(meter_)),
      running_(std::make_unique<Running>()) {}

Strategy::~Strategy() = default;

std::vector<double> Strategy::exchange(const std::vector<double>& mine) {
  if (communicator_->size() == 1) return mine;
  std::vector<double> all(mine.size() * static_cast<size_t>(communicator_->size()));
  auto& host = communicator_->host();
  if (auto* node = host.node(); node && node->size() == host.size()) {
    node->exchange(mine, all);
  } else {
    const auto view = [](const std::vector<double>& values) {
      return at::from_blob(const_cast<double*>(values.data()), {static_cast<int64_t>(values.size())}, at::kDouble);
    };
    host.all_gather(view(all), view(mine)).wait();
  }
  return all;
}

void Strategy::backward(const Tensor& loss, double weight) {
  if (!loss.defined() || loss.numel() != 1 || !loss.requires_grad())
    throw UsageError("parallel",
                     !loss.defined()     ? std::string("the loss is an undefined tensor")
                     : loss.numel() != 1 ? fmt::format("the loss has {} elements, must have one", loss.numel())
                                         : std::string("the loss does not depend on a parameter that requires a gradient"),
                     "return the mean loss over the batch from training_step");
  const auto taking_part = [this](auto&& act) {
    for (size_t i = 0; i < optimizers_.size(); i++)
      if (toggled_.value_or(i) == i) act(optimizers_[i]);
  };
  bool too_late = false;
  taking_part([&](const GroupOptimizer& optimizer) {
    for (const auto* group : optimizer.groups()) too_late = too_late || group->reducing();
  });
  if (too_late)
    throw UsageError("parallel", "a backward after the one that was to be the last of its step",
                     "call expect_step before the last one only");
  // A rank alone needs no common unit of weight: it takes its first micro-batch's, so that one micro-batch is a plain backward.
  const auto fresh = [](const GroupOptimizer& optimizer) { return optimizer.weight() == 0; };
  if (communicator_->size() == 1 && weight > 0 && std::all_of(optimizers_.begin(), optimizers_.end(), fresh)) unit_ = weight;
  if (running_->overlap && !running_->overlap->begun() && form_.lifetimes.gradients == Hold::sharded) {
    std::vector<FlatGroup*> groups;
    taking_part(
        [&](const GroupOptimizer& optimizer) { groups.insert(groups.end(), optimizer.groups().begin(), optimizer.groups().end()); });
    running_->overlap->begin(groups, form_.options.reduce_every_backward);
  }
  const double seed = weight / unit_ * gradient_scale_;
  if (seed == 1)
    loss.backward();
  else
    loss.backward(at::scalar_tensor(seed, loss.options().requires_grad(false)).view(loss.sizes()));
  std::vector<size_t> absent;
  if (running_->overlap && running_->overlap->begun()) running_->overlap->end(making_->parameter_names, &absent);
  taking_part([&](GroupOptimizer& optimizer) { optimizer.settle(&absent); });
  if (running_->runners) running_->runners->release_all();
  if (!absent.empty()) look_at_absent(absent, loss);
  if (auto& searched = searched_[toggled_.value_or(0)]; !std::exchange(searched, 1)) warn_of_unregistered(loss);
  backward_done_ = true;
  taking_part([&](GroupOptimizer& optimizer) { optimizer.count(weight); });
}

// With several optimizers a backward of one may well leave the parameters of the others out.
void Strategy::look_at_absent(const std::vector<size_t>& absent, const Tensor& loss) {
  const bool suspicious = optimizers_.size() == 1;
  detail::check_not_replaced(parameters_, absent, module_.lock().get(), suspicious ? loss : Tensor());
  if (!suspicious || communicator_->rank() != 0 || !backward_done_ || std::exchange(warned_of_absent_, true)) return;
  log_.warning(
      "[parallel] parameter {} takes no part in the loss any more; where a tensor was assigned to a module's member, write into the "
      "parameter inside write_parameters instead",
      detail::name_and_shape(parameters_[absent.front()]));
}

void Strategy::scale_gradients(double scale) {
  gradient_scale_ = scale;
  for (auto& optimizer : optimizers_) optimizer.scale_gradients(scale);
}

void Strategy::toggle(std::optional<size_t> optimizer) {
  for (const auto& tensor : toggled_off_) tensor.set_requires_grad(true);
  toggled_off_.clear();
  toggled_ = optimizer;
  if (!optimizer) return;
  for (size_t i = 0; i < optimizers_.size(); i++)
    for (const auto* group : optimizers_[i].groups())
      if (i != *optimizer && group->trained())
        std::copy_if(group->members().begin(), group->members().end(), std::back_inserter(toggled_off_),
                     [](const Tensor& tensor) { return tensor.requires_grad(); });
  for (const auto& tensor : toggled_off_) tensor.set_requires_grad(false);
}

void Strategy::checkpoint_activations(ActivationCheckpointing kind) {
  for (const auto& unit : making_->tree.units)
    if (unit.unit && unit.parent == 0) unit.unit->checkpoint_activations(kind);
}

void Strategy::expect_step(size_t optimizer) {
  if (running_->overlap) running_->overlap->begin(optimizers_[optimizer].groups(), /*reduce=*/true);
}

void Strategy::refuse_other_optimizer(size_t rank, size_t its, size_t ours) const {
  const auto names = optimizer_names(specs_);
  throw UsageError(
      "parallel",
      fmt::format("rank {} takes a step of the optimizer \"{}\", rank {} of \"{}\"", communicator_->rank(), names[ours], rank, names[its]),
      "take the same steps in the same order on all ranks, whatever their data");
}

StepTotals Strategy::meet(uint32_t signals, size_t optimizer) {
  auto& its = optimizers_[optimizer];
  refuse_unfrozen();
  auto frozen_now = frozen(its.groups());
  const double frozen_hash = frozen_now.empty() ? 0 : static_cast<double>(XXH3_64bits(frozen_now.data(), frozen_now.size()) >> 12) + 1;
  its.settle();  // a rank may have had no backward at all
  its.start_reduce();
  meet_group(making_->shard.get());
  StepTotals totals;
  constexpr size_t values = 4;
  const auto all = exchange({its.weight(), static_cast<double>(signals), static_cast<double>(optimizer), frozen_hash});
  bool same_frozen = true;
  for (size_t i = 0; i < all.size(); i += values) {
    totals.weight += all[i];
    totals.signals |= static_cast<uint32_t>(all[i + 1]);
    if (all[i + 2] != static_cast<double>(optimizer)) refuse_other_optimizer(i / values, static_cast<size_t>(all[i + 2]), optimizer);
    same_frozen = same_frozen && all[i + 3] == all[3];
  }
  if (!same_frozen) {
    frozen_now.resize(parameters_.size());
    detail::refuse_frozen(frozen_now, parameters_, *communicator_);
  }
  its.freeze(std::move(frozen_now));
  return totals;
}

uint32_t Strategy::agree(uint32_t signals) {
  meet_group(making_->shard.get());
  uint32_t all = 0;
  for (const double one : exchange({static_cast<double>(signals)})) all |= static_cast<uint32_t>(one);
  return all;
}

void Strategy::reduce(const StepTotals& totals, size_t optimizer, Accumulation accumulation) {
  if (!(totals.weight > 0))
    throw UsageError("parallel", fmt::format("a step with a total weight of {}", totals.weight), "skip the step: no rank had a sample");
  auto& its = optimizers_[optimizer];
  const double calls = accumulation == Accumulation::sum ? static_cast<double>(its.backwards()) : 1;
  its.reduce(calls * unit_ / (totals.weight * its.gradient_scale()));
  its.forget_weights();
  its.read_by_peers = form_.shared();
}

double Strategy::grad_norm(size_t optimizer) {
  const double mine = optimizers_[optimizer].squared_norm();
  if (form_.lifetimes.optimizer != Hold::sharded) return std::sqrt(mine);
  double sum = 0;
  for (double part : exchange({mine})) sum += part;
  return std::sqrt(sum * form_.shard_ranks / form_.ranks);  // replicas have the same parts
}

void Strategy::update(const std::function<double(double)>& schedule, size_t optimizer) {
  if (running_->runners) running_->runners->start_again();  // what was gathered is old
  const bool split = form_.lifetimes.optimizer == Hold::sharded;
  optimizers_[optimizer].update(schedule, [&](const Tensor& squares) {
    if (split) making_->ranks.shard->host().all_reduce(squares).wait();
  });
  if (split) publish_parameters(optimizers_[optimizer].groups());
  optimizers_[optimizer].read_by_peers = false;
}

void Strategy::publish_parameters(const std::vector<FlatGroup*>& groups) {
  if (form_.shared() && !on_several_hosts(*communicator_)) {
    communicator_->barrier();
    return;
  }
  std::vector<Work> works;
  for (auto* group : groups)
    if (group->trained() && !group->parameters_sharded()) works.push_back(group->share_parameters());
  for (auto& work : works) work.wait();
}

void Strategy::zero_grad(size_t optimizer) {
  if (std::exchange(optimizers_[optimizer].read_by_peers, false)) communicator_->barrier();  // a step without an update
  if (running_->runners) running_->runners->start_again();
  optimizers_[optimizer].zero_grad();
  optimizers_[optimizer].forget_weights();
}

}  // namespace levin
