#include "step_walk.h"

#include <algorithm>
#include <utility>

#include "levin/parallel/group_memory.h"

namespace levin::detail {
namespace {

int64_t size_of(c10::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

}  // namespace

StepWalk::StepWalk(const PlanModel& model, const std::vector<GroupLayout>& layout, const Form& form, bool early, const PlanWork& work)
    : model_(model),
      layout_(layout),
      form_(form),
      early_(early),
      work_(work),
      prefetch_(early ? static_cast<size_t>(std::min(form.options.prefetch, form.options.limit_all_gathers)) : 0),
      in_flight_most_(early ? 1 : 0),
      groups_(layout.size()),
      units_(model.units.size()),
      group_of_(model.parameters.size()),
      absent_(model.parameters.size()),
      there_(model.parameters.size()) {
  for (size_t g = 0; g < layout.size(); g++) {
    for (const auto& placement : layout[g].placements) group_of_[static_cast<size_t>(placement.parameter)] = g;
    if (form.by_unit() && layout[g].unit != 0) units_[static_cast<size_t>(layout[g].unit)].groups.push_back(g);
  }
  for (const int parameter : model.absent) absent_[static_cast<size_t>(parameter)] = 1;
  arrange();
}

// What each unit uses in turn: a unit inside another stands where its first parameter does.
void StepWalk::arrange() {
  std::vector<char> placed(units_.size());
  const auto add = [&](int unit, int item) { units_[static_cast<size_t>(unit)].order.push_back(item); };
  for (size_t i = 0; i < model_.parameters.size(); i++) {
    const int unit = model_.parameters[i].unit;
    std::vector<int> path;  // units around it that have no place yet, the innermost first
    for (int one = unit; one != 0 && !placed[static_cast<size_t>(one)]; one = model_.units[static_cast<size_t>(one)].parent)
      path.push_back(one);
    for (; !path.empty(); path.pop_back()) {
      placed[static_cast<size_t>(path.back())] = 1;
      add(model_.units[static_cast<size_t>(path.back())].parent, -1 - path.back());
    }
    add(unit, static_cast<int>(i));
  }
  if (model_.calls.empty()) return;
  std::vector<int> order;
  bool called = false;
  for (const int item : units_[0].order) {
    if (item >= 0)
      order.push_back(item);
    else if (!std::exchange(called, true))
      for (const int unit : model_.calls) order.push_back(-1 - unit);
  }
  units_[0].order = std::move(order);
}

size_t StepWalk::start(PlannedCollective what) {
  events_.push_back({.kind = StepEvent::Kind::start, .index = collectives_, .what = what});
  return collectives_++;
}

PlannedCollective StepWalk::about(size_t group, CollectiveOp op) const {
  const auto& layout = layout_[group];
  auto dtype = layout.dtype;
  const auto converted = [&](const std::optional<TransferDtype>& to) {
    if (to && c10::isFloatingType(dtype)) dtype = scalar_type_of(*to);
  };
  PlannedCollective what{.op = op, .among = Among::shard, .in_window = true};
  if (gradients() == Hold::sharded && op == CollectiveOp::reduce_scatter) {
    if (form_.of_unit(layout.unit).parameters == Hold::sharded) converted(form_.options.param_dtype);
    converted(form_.options.reduce_dtype);
    what.in_window = false;
  } else if ((op == CollectiveOp::all_gather || op == CollectiveOp::gather_shared) &&
             form_.of_unit(layout.unit).parameters == Hold::sharded) {
    converted(form_.options.param_dtype);
    what.in_window = op == CollectiveOp::gather_shared || dtype == layout.dtype;
  }
  what.bytes = what.bytes_between_nodes = layout.numel * size_of(dtype);
  const bool sums = op == CollectiveOp::reduce_scatter || op == CollectiveOp::all_reduce;
  if (sums && c10::isReducedFloatingType(dtype)) what.bytes_between_nodes = layout.numel * size_of(c10::ScalarType::Float);
  return what;
}

bool StepWalk::complete(int unit) const {
  const auto& its = units_[static_cast<size_t>(unit)].groups;
  return std::all_of(its.begin(), its.end(), [&](size_t g) { return !groups_[g].expected || groups_[g].missing == 0; });
}

void StepWalk::start_gather(int unit) {
  for (const size_t g : units_[static_cast<size_t>(unit)].groups) {
    if (std::exchange(groups_[g].gathered, true)) continue;
    emit(StepEvent::Kind::fill_parameters, g);
    groups_[g].gather = start(about(g, form_.lifetimes.gathers_once ? CollectiveOp::gather_shared : CollectiveOp::all_gather));
  }
}

void StepWalk::gather(int unit) {
  start_gather(unit);
  for (const size_t g : units_[static_cast<size_t>(unit)].groups)
    if (const auto index = std::exchange(groups_[g].gather, std::nullopt)) wait(*index);
}

void StepWalk::release(int unit) {
  for (const size_t g : units_[static_cast<size_t>(unit)].groups) {
    if (const auto index = std::exchange(groups_[g].gather, std::nullopt)) wait(*index);
    if (std::exchange(groups_[g].gathered, false)) emit(StepEvent::Kind::drop_parameters, g);
  }
}

void StepWalk::prefetch(int unit, bool ahead) {
  const auto found = std::find(order_.begin(), order_.end(), unit);
  if (found == order_.end()) return;
  const auto position = static_cast<size_t>(found - order_.begin());
  for (size_t i = 1; i <= prefetch_; i++) {
    if (ahead ? position + i >= order_.size() : position < i) return;
    start_gather(order_[ahead ? position + i : position - i]);
  }
}

void StepWalk::forward(int unit, bool graph) {
  auto& its = units_[static_cast<size_t>(unit)];
  const bool checkpointed = model_.units[static_cast<size_t>(unit)].checkpointed, inside = graph && !checkpointed;
  if (!its.groups.empty()) {
    gather(unit);
    if (std::find(seen_.begin(), seen_.end(), unit) == seen_.end()) seen_.push_back(unit);
    prefetch(unit, /*ahead=*/true);
  }
  if (graph && checkpointed) its.repeats++;
  if (inside) its.to_come++;
  its.entered++;
  for (const int item : its.order) item >= 0 ? use(item) : forward(-1 - item, inside);
  its.entered--;
  if (its.active == 0 && (form_.options.reshard_after_forward || !inside)) release(unit);
}

void StepWalk::release_if_done(int unit) {
  const auto& its = units_[static_cast<size_t>(unit)];
  if (unit != 0 && its.entered == 0 && its.active == 0 && complete(unit)) release(unit);
}

// A unit's input is often the output of the one before it, whose parameters are then gathered before this one's are released.
void StepWalk::flush() {
  if (const auto unit = std::exchange(leaving_, std::nullopt)) {
    units_[static_cast<size_t>(*unit)].active--;
    release_if_done(*unit);
  }
}

void StepWalk::backward(int unit) {
  auto& its = units_[static_cast<size_t>(unit)];
  if (model_.units[static_cast<size_t>(unit)].checkpointed) {
    flush();
    gather(unit);
    prefetch(unit, /*ahead=*/false);
    its.entered++;
    for (const int item : its.order) item >= 0 ? use(item) : forward(-1 - item, true);
    backward_of_members(unit, /*last=*/true);
    flush();
    its.entered--, its.repeats--;
    release_if_done(unit);
    start_ready();
    return;
  }
  gather(unit);
  its.active++;
  prefetch(unit, /*ahead=*/false);
  flush();
  backward_of_members(unit, --its.to_come == 0);
  flush();
  leaving_ = unit;
}

void StepWalk::backward_of_members(int unit, bool last) {
  const auto& order = units_[static_cast<size_t>(unit)].order;
  for (auto item = order.rbegin(); item != order.rend(); ++item) {
    if (*item < 0) {
      backward(-1 - *item);
      continue;
    }
    flush();
    const auto& info = model_.parameters[static_cast<size_t>(*item)];
    if (!absent_[static_cast<size_t>(*item)]) compute(2.0 * static_cast<double>(info.numel));
    if (last && info.trained && !absent_[static_cast<size_t>(*item)]) arrived(*item);
  }
}

void StepWalk::arrived(int parameter) {
  const size_t g = group_of_[static_cast<size_t>(parameter)];
  auto& group = groups_[g];
  if (!group.expected || group.missing == 0 || std::exchange(there_[static_cast<size_t>(parameter)], 1)) return;
  make_room(g);
  if (--group.missing > 0) return;
  start_ready();
  if (form_.by_unit()) release_if_done(layout_[g].unit);
}

void StepWalk::make_room(size_t g) {
  if (gradients() == Hold::sharded && !std::exchange(groups_[g].unreduced, true)) emit(StepEvent::Kind::fill_gradients, g);
}

// Whether a unit concerns another: it is in it, or around it.
bool StepWalk::repeats_concern(int unit) const {
  const auto around = [&](int inner, int outer) {
    for (int one = inner; one != 0; one = model_.units[static_cast<size_t>(one)].parent)
      if (one == outer) return true;
    return outer == 0;
  };
  for (size_t other = 1; other < units_.size(); other++)
    if (units_[other].repeats > 0 && (unit == 0 || around(unit, static_cast<int>(other)))) return true;
  return false;
}

void StepWalk::start_ready() {
  if (!reduce_) return;
  for (; !waiting_.empty(); waiting_.pop_back()) {
    const size_t g = waiting_.back();
    if (groups_[g].missing > 0 || repeats_concern(form_.by_unit() ? layout_[g].unit : 0)) return;
    start_reduce(g);
  }
}

void StepWalk::start_reduce(size_t g) {
  auto& group = groups_[g];
  const bool scatters = gradients() == Hold::sharded || form_.lifetimes.optimizer == Hold::sharded;
  group.reduction = start(about(g, scatters ? CollectiveOp::reduce_scatter : CollectiveOp::all_reduce));
  if (gradients() != Hold::sharded) return;
  in_flight_.push_back(g);
  for (; in_flight_.size() > in_flight_most_; in_flight_.pop_front()) finish_reduce(in_flight_.front());
}

void StepWalk::finish_reduce(size_t g) {
  wait(*std::exchange(groups_[g].reduction, std::nullopt));
  groups_[g].unreduced = false;
  emit(StepEvent::Kind::drop_gradients, g);
}

void StepWalk::micro_batch(bool last) {
  for (auto& unit : units_) unit.to_come = unit.active = unit.repeats = 0;
  for (const int item : units_[0].order) item >= 0 ? use(item) : forward(-1 - item, true);
  const bool sharded = gradients() == Hold::sharded, begun = form_.ranks > 1 && (sharded || (early_ && last));
  reduce_ = begun && (last || form_.options.reduce_every_backward);
  waiting_.clear();
  std::fill(there_.begin(), there_.end(), 0);
  for (size_t g = 0; g < groups_.size(); g++) {
    groups_[g].expected = begun && layout_[g].trained;
    groups_[g].missing = layout_[g].placements.size();
    if (groups_[g].expected) waiting_.push_back(g);
  }
  backward_of_members(0, /*last=*/true);
  flush();
  for (; !waiting_.empty(); waiting_.pop_back()) {
    make_room(waiting_.back());
    if (reduce_) start_reduce(waiting_.back());
  }
  for (; !in_flight_.empty(); in_flight_.pop_front()) finish_reduce(in_flight_.front());
  for (size_t unit = 1; unit < units_.size(); unit++) release(static_cast<int>(unit));
}

void StepWalk::end_of_step() {
  const bool several = form_.ranks > 1, split = form_.lifetimes.optimizer == Hold::sharded;
  std::vector<size_t> trained;
  for (size_t g = 0; g < groups_.size(); g++)
    if (layout_[g].trained) trained.push_back(g);
  if (several) exchange(3);
  double update_bytes = 0;
  for (const size_t g : trained) {
    const int64_t owned = layout_[g].numel / (split ? form_.shard_ranks : 1) * size_of(layout_[g].dtype);
    const auto states = model_.state_tensors[static_cast<size_t>(layout_[g].optimizer)];
    update_bytes += static_cast<double>(owned) * (3 + 2 * states);
    if (!several) continue;
    if (const auto index = std::exchange(groups_[g].reduction, std::nullopt))
      wait(*index);
    else if (form_.shared())
      wait(start(about(g, CollectiveOp::read_peers)));
    else if (gradients() != Hold::sharded)
      wait(start(about(g, split ? CollectiveOp::reduce_scatter : CollectiveOp::all_reduce)));
    if (split && form_.shard_ranks < form_.ranks)
      wait(start({.op = CollectiveOp::all_reduce, .among = Among::replicas, .bytes = owned, .bytes_between_nodes = owned}));
  }
  if (work_.clip_by_norm && split && several) exchange(1);
  events_.push_back({.kind = StepEvent::Kind::memory, .amount = update_bytes});
  if (!split || !several) return;
  if (form_.shared() && !early_) {
    wait(start({.op = CollectiveOp::barrier}));
    return;
  }
  std::vector<size_t> works;
  for (const size_t g : trained)
    if (const Hold held = form_.of_unit(layout_[g].unit).parameters; held != Hold::sharded)
      works.push_back(start(about(g, held == Hold::shared ? CollectiveOp::gather_shared : CollectiveOp::all_gather)));
  for (const size_t index : works) wait(index);
}

void StepWalk::exchange(int64_t values) {
  const int64_t bytes = values * static_cast<int64_t>(sizeof(double)) * form_.ranks;
  wait(start({.op = CollectiveOp::exchange, .bytes = bytes, .bytes_between_nodes = bytes}));
}

void StepWalk::use(int parameter) {
  if (!absent_[static_cast<size_t>(parameter)]) compute(static_cast<double>(model_.parameters[static_cast<size_t>(parameter)].numel));
}

std::vector<StepEvent> StepWalk::step() {
  collectives_ = 0;
  seen_.clear();
  for (int64_t i = 0; i < work_.micro_batches; i++) micro_batch(i + 1 == work_.micro_batches);
  end_of_step();
  if (!seen_.empty()) order_ = std::exchange(seen_, {});
  return std::exchange(events_, {});
}

}  // namespace levin::detail
