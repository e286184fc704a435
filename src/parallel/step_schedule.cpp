#include "step_schedule.h"

#include <algorithm>
#include <utility>

#include "levin/core/error.h"

namespace levin {

StepSchedule::StepSchedule(std::vector<Group> groups, std::vector<Unit> units, const Options& options, StepActions& actions)
    : groups_(std::move(groups)),
      tree_(std::move(units)),
      options_(options),
      actions_(actions),
      state_(groups_.size()),
      units_(tree_.size()) {
  for (size_t g = 0; g < groups_.size(); g++) {
    const auto& sharding = groups_[g].sharding;
    state_[g].arrived.resize(groups_[g].members);
    if (sharding.reshards()) units_[groups_[g].unit].groups.push_back(g);
    if (read_by_peers_.size() <= groups_[g].optimizer) read_by_peers_.resize(groups_[g].optimizer + 1);
    drops_gradients_ = drops_gradients_ || (sharding.trained && sharding.drops_gradients());
    watches_ = watches_ || drops_gradients_ || sharding.reduces_early || sharding.reshards();
  }
}

StepSchedule::Options StepSchedule::options_of(const ShardingPlan& plan, const Ranks& ranks) {
  const bool overlaps = overlaps_communication(ranks);
  const auto& options = plan.options;
  return {.reshard_after_forward = options.reshard_after_forward,
          .reduce_every_backward = options.reduce_every_backward,
          .prefetch = overlaps ? static_cast<size_t>(std::min(options.prefetch, options.limit_all_gathers)) : 0,
          .in_flight = !overlaps             ? size_t{0}
                       : plan.matrix_dtype() ? size_t{2}
                                             : size_t{1}};  // a unit has one group, or two
}

std::vector<StepSchedule::Unit> StepSchedule::units_of(const std::vector<UnitShape>& units) {
  std::vector<Unit> tree;
  for (size_t i = 0; i < units.size(); i++)
    tree.push_back({static_cast<size_t>(units[i].parent), units[i].merged_into < 0 ? i : static_cast<size_t>(units[i].merged_into)});
  return tree;
}

std::vector<StepSchedule::Group> StepSchedule::groups_of(const std::vector<GroupLayout>& layout,
                                                         const std::vector<GroupSharding>& sharding) {
  std::vector<Group> groups;
  for (size_t g = 0; g < layout.size(); g++)
    groups.push_back(
        {sharding[g], static_cast<size_t>(layout[g].unit), static_cast<size_t>(layout[g].optimizer), layout[g].parameters.size()});
  return groups;
}

template <class Act>
void StepSchedule::for_groups_of(size_t optimizer, const Act& act) {
  for (size_t g = 0; g < groups_.size(); g++)
    if (groups_[g].optimizer == optimizer && groups_[g].sharding.trained) act(g);
}

void StepSchedule::start_unshard(size_t unit) {
  for (const size_t g : units_[unit].groups) {
    if (std::exchange(state_[g].unsharded, true)) continue;
    state_[g].unsharding = true;
    actions_.start_unshard(g);
  }
}

void StepSchedule::unshard(size_t unit) {
  start_unshard(unit);
  for (const size_t g : units_[unit].groups)
    if (std::exchange(state_[g].unsharding, false)) actions_.finish_unshard(g);
}

void StepSchedule::reshard(size_t unit) {
  if (units_[unit].entered > 0) return;
  units_[unit].active = 0;
  for (const size_t g : units_[unit].groups) {
    if (std::exchange(state_[g].unsharding, false)) actions_.finish_unshard(g);
    if (std::exchange(state_[g].unsharded, false)) actions_.reshard(g);
  }
}

// A unit is done when no computation of it is open and all gradients of its parameters have arrived.
void StepSchedule::reshard_if_done(size_t unit) {
  const auto& state = units_[unit];
  const auto complete = [&](size_t g) { return !state_[g].expected || state_[g].missing == 0; };
  if (state.entered == 0 && state.active == 0 && std::all_of(state.groups.begin(), state.groups.end(), complete)) reshard(unit);
}

void StepSchedule::reshard_all() {
  for (size_t unit = 1; unit < units_.size(); unit++) reshard(unit);
}

// The neighbours of the last step's order are likely to be next.
void StepSchedule::prefetch(size_t unit, bool forward) {
  if (options_.prefetch == 0) return;
  if (forward && std::find(seen_.begin(), seen_.end(), unit) == seen_.end()) seen_.push_back(unit);
  const auto found = std::find(order_.begin(), order_.end(), unit);
  if (found == order_.end()) return;
  const auto position = static_cast<size_t>(found - order_.begin());
  for (size_t i = 1; i <= options_.prefetch; i++) {
    if (forward ? position + i >= order_.size() : position < i) return;
    start_unshard(order_[forward ? position + i : position - i]);
  }
}

void StepSchedule::enter(size_t unit, bool forward) {
  units_[unit].entered++;
  if (!reshards(unit)) return;
  unshard(unit);
  prefetch(unit, forward);
}

void StepSchedule::leave(size_t unit, bool has_backward) {
  auto& state = units_[unit];
  state.entered--;
  if (state.active == 0 && (options_.reshard_after_forward || !has_backward)) reshard(unit);
}

void StepSchedule::begin_unit_backward(size_t unit, bool ends) {
  if (ends) units_[unit].active++;
  prefetch(unit, /*forward=*/false);
}

void StepSchedule::end_unit_backward(size_t unit) {
  units_[unit].active--;
  reshard_if_done(unit);
}

void StepSchedule::repeated(size_t unit) {
  units_[unit].entered--;
  units_[unit].repeats--;
  reshard_if_done(unit);
  start_ready();
}

// Optimizers may end their steps with different backwards, of which each leaves gradients in all.
void StepSchedule::begin_backward(const std::vector<size_t>& optimizers, const std::vector<size_t>& ending) {
  if (!drops_gradients_ && (ending.empty() || !watches_)) return;
  const auto among = [](const std::vector<size_t>& several, size_t optimizer) {
    return std::find(several.begin(), several.end(), optimizer) != several.end();
  };
  begun_ = true;
  waiting_.clear();
  for (size_t g = 0; g < groups_.size(); g++) {
    const auto& [sharding, unit, optimizer, members] = groups_[g];
    auto& group = state_[g];
    group.started = false;
    group.expected = sharding.trained && among(optimizers, optimizer);
    if (!group.expected) continue;
    group.last = among(ending, optimizer);
    group.reduced = false;
    for (size_t m = 0; m < group.arrived.size(); m++) group.arrived[m] = actions_.requires_gradient(g, m) ? 0 : 1;
    group.missing = static_cast<size_t>(std::count(group.arrived.begin(), group.arrived.end(), 0));
    if (group.last || (sharding.drops_gradients() && options_.reduce_every_backward)) waiting_.push_back(g);
  }
}

void StepSchedule::gradient_ready(size_t g, size_t member) {
  auto& group = state_[g];
  if (!begun_ || !group.expected) return;
  if (group.started)
    throw UsageError("parallel", "a gradient came again in a backward after the reduction of its group had begun",
                     "make no backward inside a backward");
  actions_.collect_gradient(g, member);
  if (std::exchange(group.arrived[member], 1)) return;
  if (--group.missing > 0) return;
  start_ready();
  if (groups_[g].unit != 0) reshard_if_done(groups_[g].unit);
}

// Units that contain `unit`, or were merged into it, compute its parameters' gradients once more in each repetition.
bool StepSchedule::repeats_concern(size_t unit) const {
  const auto contains = [&](size_t other) {
    for (size_t around = unit; around != 0; around = tree_[around].parent)
      if (around == other) return true;
    return false;
  };
  for (size_t other = 1; other < units_.size(); other++)
    if (units_[other].repeats > 0 && (unit == 0 || tree_[other].merged_into == unit || contains(other))) return true;
  return false;
}

// Groups start in one order, the last first, whatever part of the model a rank used: a complete group waits for those behind it.
void StepSchedule::start_ready() {
  for (; !waiting_.empty(); waiting_.pop_back()) {
    const size_t g = waiting_.back();
    if (state_[g].missing > 0 || repeats_concern(groups_[g].unit)) return;
    start_in_backward(g);
  }
}

void StepSchedule::start_in_backward(size_t g) {
  state_[g].started = true;
  const auto& sharding = groups_[g].sharding;
  if (!sharding.reduces_in_backward()) return;
  for (size_t m = 0; m < groups_[g].members; m++)
    if (!actions_.requires_gradient(g, m)) actions_.collect_gradient(g, m);  // zeros
  start_reduce(g);
  if (!sharding.drops_gradients()) return;
  in_flight_.push_back(g);
  while (in_flight_.size() > options_.in_flight) finish_oldest();
}

// Between replicas the last backward of a step sums, too. Sums of shards and of replicas alternate in one order on all ranks: a device runs
// the collectives of both groups one after the other.
void StepSchedule::finish_oldest() {
  const size_t g = in_flight_.front();
  in_flight_.pop_front();
  finish_reduce(g);
  if (state_[g].last) sum_over_replicas(g);
}

void StepSchedule::sum_over_replicas(size_t g) {
  if (groups_[g].sharding.replicas > 1 && !std::exchange(state_[g].summed, true)) actions_.start_sum_over_replicas(g);
}

void StepSchedule::start_reduce(size_t g) {
  if (state_[g].reducing || state_[g].reduced) return;
  state_[g].reducing = true;
  state_[g].reduced = groups_[g].sharding.drops_gradients();
  actions_.start_reduce(g);
}

void StepSchedule::finish_reduce(size_t g) {
  if (std::exchange(state_[g].reducing, false)) actions_.finish_reduce(g);
}

void StepSchedule::collect(size_t g) {
  if (!state_[g].reduced) actions_.collect_gradients(g);
}

void StepSchedule::end_backward(const std::vector<size_t>& optimizers) {
  if (std::exchange(begun_, false)) {
    for (; !waiting_.empty(); waiting_.pop_back()) {
      collect(waiting_.back());
      start_in_backward(waiting_.back());
    }
    while (!in_flight_.empty()) finish_oldest();
  }
  for (const size_t optimizer : optimizers) for_groups_of(optimizer, [&](size_t g) { collect(g); });
  reshard_all();
  backward_ended_ = true;
}

void StepSchedule::synchronize(size_t optimizer, const std::function<void()>& exchange) {
  for_groups_of(optimizer, [&](size_t g) { collect(g); });  // a rank may have had no backward at all
  for (size_t g = groups_.size(); g-- > 0;) {
    const auto& [sharding, unit, trained_by, members] = groups_[g];
    if (trained_by == optimizer && sharding.trained && sharding.reduces_in_backward()) start_reduce(g);
  }
  actions_.synchronize_shards();
  exchange();
}

void StepSchedule::reduce(size_t optimizer, double factor) {
  for (size_t g = groups_.size(); g-- > 0;) {
    const auto& [sharding, unit, trained_by, members] = groups_[g];
    if (trained_by != optimizer || !sharding.trained || sharding.replicas == 1) continue;
    start_reduce(g);
    finish_reduce(g);
    sum_over_replicas(g);
  }
  for_groups_of(optimizer, [&](size_t g) {
    start_reduce(g);
    finish_reduce(g);
    actions_.average(g, factor);
    if (groups_[g].sharding.reducer == GroupSharding::Reducer::peer_read) read_by_peers_[optimizer] = 1;
  });
}

void StepSchedule::update(size_t optimizer, const std::function<void()>& update) {
  begin_step();  // unsharded parameters are outdated
  update();
  bool needs_barrier = false;
  for_groups_of(optimizer,
                [&](size_t g) { needs_barrier = needs_barrier || groups_[g].sharding.publish == GroupSharding::Publish::barrier; });
  if (needs_barrier) actions_.barrier();
  for_groups_of(optimizer, [&](size_t g) { actions_.start_publish(g); });
  for_groups_of(optimizer, [&](size_t g) { actions_.finish_publish(g); });
  if (optimizer < read_by_peers_.size()) read_by_peers_[optimizer] = 0;
}

void StepSchedule::reset(size_t optimizer) {
  if (optimizer < read_by_peers_.size() && std::exchange(read_by_peers_[optimizer], 0)) actions_.barrier();
  if (backward_ended_) begin_step();  // else the forward of this step may be done, and its units wait for their backward
  for_groups_of(optimizer, [&](size_t g) {
    actions_.reset_gradients(g);
    state_[g].reducing = state_[g].reduced = state_[g].summed = false;
  });
}

void StepSchedule::begin_step() {
  backward_ended_ = false;
  reshard_all();
  for (auto& unit : units_) unit.repeats = 0;
  if (!seen_.empty()) order_ = std::exchange(seen_, {});
}

}  // namespace levin
