#pragma once
#include <deque>
#include <optional>
#include <vector>

#include "levin/parallel/plan.h"

namespace levin::detail {

/// Something that happens on a rank in a step.
struct StepEvent {
  enum class Kind {
    compute,          ///< `amount` parameters' worth of a forward; a backward is two
    memory,           ///< `amount` bytes of a rank's memory traffic, of the update
    fill_parameters,  ///< a group's gathered parameters get memory
    drop_parameters,
    fill_gradients,
    drop_gradients,
    start,  ///< the collective `what` is on its way
    wait    ///< for the one that began as `index`-th
  };
  Kind kind;
  size_t group = 0, index = 0;
  double amount = 0;
  PlannedCollective what = {};
};

/// What Overlap, UnitRunner and Strategy do in a step, as a list of events, for a model whose units are used in order.
class StepWalk {
 public:
  /// `early`: reductions start in the backward; see reduces_early. All references must outlive it.
  StepWalk(const PlanModel& model, const std::vector<GroupLayout>& layout, const Form& form, bool early, const PlanWork& work);

  /// The events of the coming step. In the first one nothing is gathered ahead.
  std::vector<StepEvent> step();

 private:
  struct Group {
    bool gathered = false, unreduced = false, expected = false;
    size_t missing = 0;                       // gradients
    std::optional<size_t> gather, reduction;  // under way
  };
  struct Unit {
    std::vector<size_t> groups;
    std::vector<int> order;        // of use: its own parameters; a unit inside it as -1 - unit
    int to_come = 0, repeats = 0;  // backwards, those of repeated computations apart
    int entered = 0, active = 0;
  };

  void arrange();
  void micro_batch(bool last);
  void end_of_step();
  void forward(int unit, bool graph);
  void backward(int unit);
  void backward_of_members(int unit, bool last);
  void use(int parameter);
  void arrived(int parameter);
  void make_room(size_t group);
  bool complete(int unit) const;
  bool repeats_concern(int unit) const;
  void start_ready();
  void start_reduce(size_t group);
  void finish_reduce(size_t group);
  void prefetch(int unit, bool ahead);
  void start_gather(int unit);
  void gather(int unit);
  void release(int unit);
  void release_if_done(int unit);
  void flush();
  void exchange(int64_t values);
  Hold gradients() const { return form_.lifetimes.gradients; }
  PlannedCollective about(size_t group, CollectiveOp op) const;
  size_t start(PlannedCollective what);
  void wait(size_t index) { events_.push_back({.kind = StepEvent::Kind::wait, .index = index}); }
  void compute(double amount) { events_.push_back({.kind = StepEvent::Kind::compute, .amount = amount}); }
  void emit(StepEvent::Kind kind, size_t group) { events_.push_back({.kind = kind, .group = group}); }

  const PlanModel& model_;
  const std::vector<GroupLayout>& layout_;
  const Form& form_;
  bool early_;
  PlanWork work_;
  size_t prefetch_, in_flight_most_;
  std::vector<Group> groups_;
  std::vector<Unit> units_;
  std::vector<size_t> group_of_;      // by parameter
  std::vector<char> absent_, there_;  // by parameter
  std::vector<int> order_, seen_;     // as of UnitRunners
  std::vector<size_t> waiting_;       // as of Overlap
  std::deque<size_t> in_flight_;
  std::optional<int> leaving_;  // a unit whose backward is over, but for its input's gradient
  std::vector<StepEvent> events_;
  size_t collectives_ = 0;
  bool reduce_ = false;
};

}  // namespace levin::detail
