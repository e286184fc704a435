#pragma once
#include <optional>
#include <vector>

#include "../parallel/step_schedule.h"
#include "levin/plan/plan.h"

namespace levin::detail {

/// An event of a step on one rank.
struct StepEvent {
  enum class Kind {
    compute,             ///< forward over `amount` parameters; a backward counts as two
    memory,              ///< `amount` bytes of memory traffic in the update
    acquire_parameters,  ///< allocates the whole parameters of `group`
    release_parameters,  ///< frees them
    acquire_gradients,   ///< allocates the whole gradients of `group`
    send_gradients,      ///< moves them into the slot of their collective
    release_gradients,   ///< frees them
    start,               ///< starts `collective`, number `index` of the step
    wait                 ///< waits for collective number `index`
  };
  Kind kind;
  size_t group = 0, index = 0;
  double amount = 0;
  PlannedCollective collective = {};
};

/// Records the actions of a schedule as events.
class StepRecorder final : public StepActions {
 public:
  StepRecorder(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, const ShardingPlan& plan,
               const Ranks& ranks);

  void start_unshard(size_t group) override;
  void finish_unshard(size_t group) override { wait(state_[group].all_gather); }
  void reshard(size_t group) override { add({.kind = StepEvent::Kind::release_parameters, .group = group}); }
  void collect_gradient(size_t group, size_t) override { collect_gradients(group); }
  void collect_gradients(size_t group) override;
  void start_reduce(size_t group) override;
  void finish_reduce(size_t group) override;
  void start_sum_over_replicas(size_t group) override;
  void average(size_t group, double factor) override;
  void reset_gradients(size_t group) override { release_gradients(group); }
  void start_publish(size_t group) override;
  void finish_publish(size_t group) override { wait(state_[group].publish); }
  void barrier() override { run({.op = CollectiveOp::barrier}); }
  void synchronize_shards() override;

  void exchange(size_t values);
  void compute(double amount) { add({.kind = StepEvent::Kind::compute, .amount = amount}); }
  void memory(double bytes) { add({.kind = StepEvent::Kind::memory, .amount = bytes}); }
  /// The events since the last call.
  std::vector<StepEvent> take();

 private:
  struct Group {
    std::optional<size_t> all_gather, reduction, replicas, publish;  // collectives in flight
    bool has_gradients = false;                                      // whole gradients are allocated
  };
  PlannedCollective collective(size_t group, CollectiveOp op, c10::ScalarType dtype, bool in_window) const;
  size_t start(const PlannedCollective& collective);
  void wait(std::optional<size_t>& in_flight);
  void run(const PlannedCollective& collective);
  void release_gradients(size_t group);
  void add(const StepEvent& event) { events_.push_back(event); }

  const std::vector<GroupLayout>& layout_;
  const std::vector<GroupSharding>& sharding_;
  int ranks_;
  bool synchronizes_shards_;
  std::vector<Group> state_;
  std::vector<StepEvent> events_;
  size_t collectives_ = 0;
};

/// Replays the schedule of a model's steps in the order of autograd, assuming that the forward uses units in the model's order.
class StepSimulator {
 public:
  StepSimulator(const PlanModel& model, const ShardingPlan& plan, const Ranks& ranks, const Workload& work, int64_t alignment_bytes);
  StepSimulator(const StepSimulator&) = delete;
  StepSimulator& operator=(const StepSimulator&) = delete;

  /// Simulates the next step and returns its events. The first step prefetches nothing.
  std::vector<StepEvent> step();
  const std::vector<GroupLayout>& layout() const noexcept { return layout_; }
  const std::vector<GroupSharding>& sharding() const noexcept { return sharding_; }

 private:
  /// A parameter of a unit, or a nested unit.
  struct Item {
    bool is_unit;
    size_t index;
  };
  struct Unit {
    std::vector<Item> items;    // in order of use
    int pending_backwards = 0;  // forwards with a graph whose backward is still due; recomputation does not count
  };

  void arrange();
  void micro_batch(bool last);
  void end_of_step(size_t optimizer);
  void forward_of_items(size_t unit, bool graph, bool repeated);
  void forward(size_t unit, bool graph, bool repeated);
  void backward(size_t unit);
  void backward_of_items(size_t unit, bool last);
  void leave_backward();
  double update_bytes(size_t optimizer) const;

  const PlanModel& model_;
  ShardingPlan plan_;
  Workload work_;
  std::vector<GroupLayout> layout_;
  std::vector<GroupSharding> sharding_;
  StepRecorder recorder_;
  StepSchedule schedule_;
  std::vector<Unit> units_;
  std::vector<std::pair<size_t, size_t>> member_of_;  // by parameter: group, and index in the group
  std::vector<char> absent_;                          // by parameter
  std::vector<size_t> optimizers_;
  std::optional<size_t> leaving_;  // unit whose backward is complete except for the gradient of its input
};

}  // namespace levin::detail
