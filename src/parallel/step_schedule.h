#pragma once
#include <deque>
#include <functional>
#include <vector>

#include "group_sharding.h"

namespace levin {

/// The actions of a schedule on flat groups, identified by their index in the layout. The engine does it (GroupActions); a plan notes the
/// memory, the collectives and the seconds. start_*, barrier and synchronize_shards are collective.
class StepActions {
 public:
  virtual ~StepActions() = default;
  /// Whether a gradient of the member will arrive in a backward: false while the parameter is frozen.
  virtual bool requires_gradient(size_t /*group*/, size_t /*member*/) const { return true; }
  virtual void start_unshard(size_t group) = 0;                    ///< parameters get memory, and their all-gather starts
  virtual void finish_unshard(size_t group) = 0;                   ///< waits for it
  virtual void reshard(size_t group) = 0;                          ///< parameters lose their memory
  virtual void collect_gradient(size_t group, size_t member) = 0;  ///< into the group's gradients, which have memory from the first on
  virtual void collect_gradients(size_t group) = 0;                ///< of all members; zeros for absent gradients
  virtual void start_reduce(size_t group) = 0;
  virtual void finish_reduce(size_t group) = 0;            ///< waits for it; sharded gradients lose their memory
  virtual void start_sum_over_replicas(size_t group) = 0;  ///< of the shard's sum, after finish_reduce; average waits for it
  virtual void average(size_t group, double factor) = 0;
  virtual void reset_gradients(size_t group) = 0;
  virtual void start_publish(size_t group) = 0;  ///< updated shards become every rank's parameters
  virtual void finish_publish(size_t group) = 0;
  virtual void barrier() = 0;
  virtual void synchronize_shards() = 0;  ///< see ProcessGroups
};

/// The order in which a step unshards, prefetches, reduces, waits and reshards. It is written here only: Strategy feeds it from autograd
/// hooks, a plan from the order in which it simulates the model, and both get the same actions.
///
/// A step is: for every micro-batch forward (enter, leave), begin_backward, backward (by unit and gradient), end_backward; then
/// synchronize, reduce, update, reset. All ranks make these calls in the same order; what happens inside a forward or backward may differ,
/// and reductions still start in the same order.
class StepSchedule {
 public:
  struct Group {
    GroupSharding sharding;
    size_t unit = 0, optimizer = 0, members = 0;
  };
  struct Unit {
    size_t parent = 0, merged_into = 0;  ///< see UnitShape
  };
  struct Options {
    bool reshard_after_forward = true;
    bool reduce_every_backward = true;
    size_t prefetch = 0;   ///< units whose unsharding starts ahead of their use
    size_t in_flight = 0;  ///< reductions of sharded gradients that a backward leaves in flight
  };
  /// `actions` must outlive it. `units`: the root first.
  StepSchedule(std::vector<Group> groups, std::vector<Unit> units, const Options& options, StepActions& actions);
  static Options options_of(const ShardingPlan& plan, const Ranks& ranks);
  static std::vector<Unit> units_of(const std::vector<UnitShape>& units);
  static std::vector<Group> groups_of(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding);

  /// Whether anything happens inside a forward or a backward, so that units and gradients must be reported.
  bool watches() const noexcept { return watches_; }
  /// Whether the unit has parameters that are unsharded for it.
  bool reshards(size_t unit) const { return !units_[unit].groups.empty(); }

  // Units. `forward` is false for a computation that is repeated in a backward.
  void enter(size_t unit, bool forward);
  void leave(size_t unit, bool has_backward);
  /// A gradient of the unit's outputs arrived: its parameters are needed.
  void unshard(size_t unit);
  /// With the first of these. `ends`: end_unit_backward follows.
  void begin_unit_backward(size_t unit, bool ends);
  void end_unit_backward(size_t unit);  ///< the gradients of its inputs are complete
  /// A computation of the unit will be repeated in the backward; it was, after another enter.
  void will_repeat(size_t unit) { units_[unit].repeats++; }
  void repeated(size_t unit);

  // Micro-batches.
  /// A backward of these optimizers' parameters begins, the last one of the steps of `ending`.
  void begin_backward(const std::vector<size_t>& optimizers, const std::vector<size_t>& ending = {});
  /// The gradient of a member is final. UsageError if the reduction of its group has started.
  void gradient_ready(size_t group, size_t member);
  void end_backward(const std::vector<size_t>& optimizers);

  // The end of a step.
  /// All gradients of the optimizer are on their way. `exchange` sends synchronize_values numbers to all ranks.
  void synchronize(size_t optimizer, const std::function<void()>& exchange);
  static constexpr size_t synchronize_values = 5;
  /// The mean gradients are ready: sums times `factor`.
  void reduce(size_t optimizer, double factor);
  /// `update` updates the shards; afterwards all ranks read the new parameters.
  void update(size_t optimizer, const std::function<void()>& update);
  /// Forgets the optimizer's gradients; between forward and backward, too. A barrier if peers may still read them.
  void reset(size_t optimizer);
  /// Reshards what no computation uses.
  void reshard_all();

 private:
  struct GroupState {
    bool unsharded = false, unsharding = false;  // unsharding: the all-gather is in flight
    bool expected = false, started = false;      // in this backward; started: its reduction
    bool last = false;                           // this backward ends the step of its optimizer
    bool reducing = false, reduced = false;      // reduced: sharded gradients of the last backward are in the mean
    bool summed = false;                         // the sum over replicas has started
    size_t missing = 0;                          // gradients, in this backward
    std::vector<char> arrived;                   // by member
  };
  struct UnitState {
    std::vector<size_t> groups;
    int entered = 0;  // computations that were entered and not left
    int active = 0;   // computations whose backward has begun and not ended
    int repeats = 0;  // computations that will be repeated
  };

  template <class Act>
  void for_groups_of(size_t optimizer, const Act& act);
  void start_unshard(size_t unit);
  void reshard(size_t unit);
  void reshard_if_done(size_t unit);
  void prefetch(size_t unit, bool forward);
  void collect(size_t group);
  void start_reduce(size_t group);
  void finish_reduce(size_t group);
  void finish_oldest();
  void sum_over_replicas(size_t group);
  void start_in_backward(size_t group);
  void start_ready();
  bool repeats_concern(size_t unit) const;
  void begin_step();

  std::vector<Group> groups_;
  std::vector<Unit> tree_;
  Options options_;
  StepActions& actions_;
  std::vector<GroupState> state_;
  std::vector<UnitState> units_;
  std::vector<size_t> order_, seen_;  // units by first use in the forward: of the last step, and of this one
  std::vector<size_t> waiting_;       // groups that this backward reduces and has not started to; the last starts first
  std::deque<size_t> in_flight_;
  std::vector<char> read_by_peers_;  // by optimizer
  bool watches_ = false, drops_gradients_ = false, begun_ = false;
  bool backward_ended_ = false;  // since the step began
};

}  // namespace levin
