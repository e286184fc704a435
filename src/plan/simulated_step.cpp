#include "simulated_step.h"

#include <numeric>
#include <utility>

namespace levin::detail {
namespace {

using Publish = GroupSharding::Publish;
using Reducer = GroupSharding::Reducer;
using Store = GroupSharding::Store;

std::vector<GroupSharding> shard_groups(const std::vector<GroupLayout>& layout, const ShardingPlan& plan, const Ranks& ranks) {
  std::vector<GroupSharding> sharding;
  sharding.reserve(layout.size());
  for (const auto& group : layout) sharding.push_back(shard_group(group, plan, ranks));
  return sharding;
}

int64_t size_of(c10::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

}  // namespace

StepRecorder::StepRecorder(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, const ShardingPlan& plan,
                           const Ranks& ranks)
    : layout_(layout),
      sharding_(sharding),
      ranks_(plan.ranks),
      synchronizes_shards_(plan.replicas() > 1 && ranks.share_memory),
      state_(layout.size()) {}

std::vector<StepEvent> StepRecorder::take() {
  collectives_ = 0;
  return std::exchange(events_, {});
}

PlannedCollective StepRecorder::collective(size_t group, CollectiveOp op, c10::ScalarType dtype, bool in_window) const {
  const int64_t numel = layout_[group].numel;
  const bool sums = op == CollectiveOp::reduce_scatter || op == CollectiveOp::all_reduce;
  const auto between_nodes = sums && c10::isReducedFloatingType(dtype) ? c10::ScalarType::Float : dtype;
  return {op, MeshRole::shards, numel * size_of(dtype), numel * size_of(between_nodes), in_window};
}

size_t StepRecorder::start(const PlannedCollective& collective) {
  add({.kind = StepEvent::Kind::start, .index = collectives_, .collective = collective});
  return collectives_++;
}

void StepRecorder::wait(std::optional<size_t>& in_flight) {
  if (in_flight) add({.kind = StepEvent::Kind::wait, .index = *std::exchange(in_flight, std::nullopt)});
}

void StepRecorder::run(const PlannedCollective& collective) {
  std::optional<size_t> index = start(collective);
  wait(index);
}

void StepRecorder::start_unshard(size_t group) {
  const auto& sharding = sharding_[group];
  const bool shared = sharding.store == Store::node_gathered;
  add({.kind = StepEvent::Kind::acquire_parameters, .group = group});
  state_[group].all_gather = start(collective(group, shared ? CollectiveOp::gather_shared : CollectiveOp::all_gather,
                                              sharding.compute_dtype, shared || sharding.compute_dtype == sharding.dtype));
}

void StepRecorder::collect_gradients(size_t group) {
  if (sharding_[group].drops_gradients() && !std::exchange(state_[group].has_gradients, true))
    add({.kind = StepEvent::Kind::acquire_gradients, .group = group});
}

void StepRecorder::release_gradients(size_t group) {
  if (std::exchange(state_[group].has_gradients, false)) add({.kind = StepEvent::Kind::release_gradients, .group = group});
}

void StepRecorder::start_reduce(size_t group) {
  const auto& sharding = sharding_[group];
  const auto begin = [&](CollectiveOp op, bool in_window) {
    state_[group].reduction = start(collective(group, op, sharding.reduce_dtype, in_window));
  };
  switch (sharding.reducer) {
    case Reducer::local: return;
    case Reducer::all_reduce: return begin(CollectiveOp::all_reduce, true);
    case Reducer::reduce_scatter: return begin(CollectiveOp::reduce_scatter, true);
    case Reducer::peer_read: return begin(CollectiveOp::read_peers, true);
    case Reducer::sharded:
      add({.kind = StepEvent::Kind::send_gradients, .group = group});
      return begin(CollectiveOp::reduce_scatter, false);
  }
}

void StepRecorder::finish_reduce(size_t group) {
  wait(state_[group].reduction);
  release_gradients(group);
}

void StepRecorder::start_sum_over_replicas(size_t group) {
  const auto& sharding = sharding_[group];
  auto sum = collective(group, CollectiveOp::all_reduce, sharding.dtype, false);
  sum.role = MeshRole::replicas;
  sum.bytes /= sharding.shards, sum.bytes_between_nodes /= sharding.shards;
  state_[group].replicas = start(sum);
}

void StepRecorder::average(size_t group, double) { wait(state_[group].replicas); }

void StepRecorder::start_publish(size_t group) {
  const auto publish = sharding_[group].publish;
  if (publish != Publish::all_gather && publish != Publish::gather_shared) return;
  const auto op = publish == Publish::all_gather ? CollectiveOp::all_gather : CollectiveOp::gather_shared;
  state_[group].publish = start(collective(group, op, sharding_[group].dtype, true));
}

void StepRecorder::synchronize_shards() {
  if (synchronizes_shards_) run({.op = CollectiveOp::barrier, .role = MeshRole::shards});
}

void StepRecorder::exchange(size_t values) {
  const auto bytes = static_cast<int64_t>(values * sizeof(double)) * ranks_;
  if (ranks_ > 1) run({.op = CollectiveOp::exchange, .bytes = bytes, .bytes_between_nodes = bytes});
}

StepSimulator::StepSimulator(const PlanModel& model, const ShardingPlan& plan, const Ranks& ranks, const Workload& work,
                             int64_t alignment_bytes)
    : model_(model),
      plan_(plan),
      work_(work),
      layout_(make_layout(model.parameters, layout_options(plan, alignment_bytes))),
      sharding_(shard_groups(layout_, plan, ranks)),
      recorder_(layout_, sharding_, plan, ranks),
      schedule_(StepSchedule::groups_of(layout_, sharding_), StepSchedule::units_of(model.units), StepSchedule::options_of(plan, ranks),
                recorder_),
      units_(model.units.size()),
      member_of_(model.parameters.size()),
      absent_(model.parameters.size()),
      optimizers_(model.state_tensors.size()) {
  std::iota(optimizers_.begin(), optimizers_.end(), size_t{0});
  for (size_t g = 0; g < layout_.size(); g++)
    for (size_t m = 0; m < layout_[g].parameters.size(); m++) member_of_[static_cast<size_t>(layout_[g].parameters[m].parameter)] = {g, m};
  for (const int parameter : model.absent) absent_[static_cast<size_t>(parameter)] = 1;
  arrange();
}

// A nested unit is used at the position of its first parameter.
void StepSimulator::arrange() {
  std::vector<char> placed(units_.size());
  for (size_t i = 0; i < model_.parameters.size(); i++) {
    const auto unit = static_cast<size_t>(model_.parameters[i].unit);
    std::vector<size_t> path;  // enclosing units that are not placed yet, innermost first
    for (size_t outer = unit; outer != 0 && !placed[outer]; outer = static_cast<size_t>(model_.units[outer].parent)) path.push_back(outer);
    for (; !path.empty(); path.pop_back()) {
      placed[path.back()] = 1;
      units_[static_cast<size_t>(model_.units[path.back()].parent)].items.push_back({true, path.back()});
    }
    units_[unit].items.push_back({false, i});
  }
  if (model_.calls.empty()) return;
  std::vector<Item> items;
  bool called = false;
  for (const auto& item : units_[0].items) {
    if (!item.is_unit)
      items.push_back(item);
    else if (!std::exchange(called, true))
      for (const int unit : model_.calls) items.push_back({true, static_cast<size_t>(unit)});
  }
  units_[0].items = std::move(items);
}

void StepSimulator::forward_of_items(size_t unit, bool graph, bool repeated) {
  for (const auto& [is_unit, index] : units_[unit].items) {
    if (is_unit)
      forward(index, graph, repeated);
    else if (!absent_[index])
      recorder_.compute(static_cast<double>(model_.parameters[index].numel));
  }
}

// A checkpointed unit runs forward without a graph, and again with a graph in the backward.
void StepSimulator::forward(size_t unit, bool graph, bool repeated) {
  const bool checkpointed = model_.units[unit].checkpointed, has_backward = graph && !checkpointed;
  schedule_.enter(unit, /*forward=*/!repeated);
  forward_of_items(unit, has_backward, repeated);
  schedule_.leave(unit, has_backward);
  if (has_backward) units_[unit].pending_backwards++;
  if (graph && checkpointed) schedule_.will_repeat(unit);
}

void StepSimulator::backward(size_t unit) {
  if (model_.units[unit].checkpointed) {
    leave_backward();
    schedule_.enter(unit, /*forward=*/false);
    forward_of_items(unit, /*graph=*/true, /*repeated=*/true);
    backward_of_items(unit, /*last=*/true);
    leave_backward();
    schedule_.repeated(unit);
    return;
  }
  schedule_.unshard(unit);
  schedule_.begin_unit_backward(unit, /*ends=*/true);
  leave_backward();
  backward_of_items(unit, --units_[unit].pending_backwards == 0);
  leave_backward();
  leaving_ = unit;
}

// A unit is left late: its input is often the output of the previous unit, whose parameters are unsharded before these are resharded.
void StepSimulator::leave_backward() {
  if (const auto unit = std::exchange(leaving_, std::nullopt)) schedule_.end_unit_backward(*unit);
}

void StepSimulator::backward_of_items(size_t unit, bool last) {
  const auto& items = units_[unit].items;
  for (auto item = items.rbegin(); item != items.rend(); ++item) {
    if (item->is_unit) {
      backward(item->index);
      continue;
    }
    leave_backward();
    if (absent_[item->index]) continue;
    const auto& parameter = model_.parameters[item->index];
    recorder_.compute(2.0 * static_cast<double>(parameter.numel));
    const auto [group, member] = member_of_[item->index];
    if (last && parameter.trained) schedule_.gradient_ready(group, member);
  }
}

void StepSimulator::micro_batch(bool last) {
  for (auto& unit : units_) unit.pending_backwards = 0;
  forward_of_items(0, /*graph=*/true, /*repeated=*/false);
  schedule_.begin_backward(optimizers_, last && optimizers_.size() == 1 ? optimizers_ : std::vector<size_t>());
  backward_of_items(0, /*last=*/true);
  leave_backward();
  schedule_.end_backward(optimizers_);
}

double StepSimulator::update_bytes(size_t optimizer) const {
  double bytes = 0;
  for (size_t g = 0; g < layout_.size(); g++) {
    if (!layout_[g].trained || static_cast<size_t>(layout_[g].optimizer) != optimizer) continue;
    const int64_t owned = layout_[g].bytes(layout_[g].dtype) / sharding_[g].shards;
    bytes += static_cast<double>(owned) *
             (3 + 2 * model_.state_tensors[optimizer]);  // reads the gradient; reads and writes parameters and states
  }
  return bytes;
}

void StepSimulator::end_of_step(size_t optimizer) {
  schedule_.synchronize(optimizer, [&] { recorder_.exchange(StepSchedule::synchronize_values); });
  schedule_.reduce(optimizer, 1);
  if (work_.clip_by_norm && plan_.shards_updates()) recorder_.exchange(1);
  schedule_.update(optimizer, [&] { recorder_.memory(update_bytes(optimizer)); });
  schedule_.reset(optimizer);
}

std::vector<StepEvent> StepSimulator::step() {
  for (int64_t i = 0; i < work_.micro_batches; i++) micro_batch(i + 1 == work_.micro_batches);
  for (const size_t optimizer : optimizers_) end_of_step(optimizer);
  return recorder_.take();
}

}  // namespace levin::detail
