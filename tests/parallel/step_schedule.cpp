// The order of a step's actions.
#include "../../src/parallel/step_schedule.h"

#include <string>
#include <vector>

#include "levin_test.h"

using levin::GroupSharding, levin::StepSchedule;

BOOST_AUTO_TEST_SUITE(parallel_step_schedule)

namespace {

struct Notes : levin::StepActions {
  void start_unshard(size_t) override { text += "U"; }
  void finish_unshard(size_t) override {}
  void reshard(size_t) override { text += "R"; }
  void collect_gradient(size_t, size_t) override {}
  void collect_gradients(size_t) override {}
  void start_reduce(size_t) override { text += "r"; }
  void finish_reduce(size_t) override {}
  void start_sum_over_replicas(size_t) override {}
  void average(size_t, double) override {}
  void reset_gradients(size_t) override {}
  void start_publish(size_t) override {}
  void finish_publish(size_t) override {}
  void barrier() override {}
  void synchronize_shards() override {}
  std::string text;
};

// The collectives of gradients, by group; s: between replicas.
struct Reductions : Notes {
  void start_reduce(size_t group) override { text += std::to_string(group); }
  void start_sum_over_replicas(size_t group) override { text += "s" + std::to_string(group); }
};

// A root and a unit, whose group of one parameter is sharded.
StepSchedule schedule_of_a_unit(Notes& notes, bool reshard_after_forward) {
  GroupSharding sharding;
  sharding.store = GroupSharding::Store::sharded;
  sharding.reducer = GroupSharding::Reducer::sharded;
  sharding.shards = 2;
  return {
      {{sharding, /*unit=*/1, /*optimizer=*/0, /*members=*/1}}, {{0, 0}, {0, 1}}, {.reshard_after_forward = reshard_after_forward}, notes};
}

void backward(StepSchedule& schedule, int repetitions) {
  schedule.begin_backward({0}, {0});
  schedule.unshard(1);
  schedule.begin_unit_backward(1, /*ends=*/false);
  for (int i = 0; i < repetitions; i++) {
    schedule.enter(1, /*forward=*/false);
    schedule.gradient_ready(0, 0);
    schedule.repeated(1);
  }
  if (repetitions == 0) schedule.gradient_ready(0, 0);
  schedule.end_backward({0});
}

void end_step(StepSchedule& schedule) {
  schedule.synchronize(0, [] {});
  schedule.reduce(0, 1);
  schedule.update(0, [] {});
}

}  // namespace

// As the Trainer does it, and usual loops.
BOOST_AUTO_TEST_CASE(gradients_may_be_reset_between_forward_and_backward) {
  for (const bool between : {false, true}) {
    Notes notes;
    auto schedule = schedule_of_a_unit(notes, /*reshard_after_forward=*/false);
    for (int step = 0; step < 2; step++) {
      notes.text.clear();
      if (!between) schedule.reset(0);
      schedule.enter(1, /*forward=*/true);
      schedule.leave(1, /*has_backward=*/true);
      if (between) schedule.reset(0);
      BOOST_TEST(notes.text == "U");  // unsharded once, for both
      backward(schedule, 0);
      BOOST_TEST(notes.text == "UrR");
      end_step(schedule);
    }
  }
}

BOOST_AUTO_TEST_CASE(repetitions_are_counted_from_the_forward_on) {
  Notes notes;
  auto schedule = schedule_of_a_unit(notes, /*reshard_after_forward=*/true);
  for (int step = 0; step < 2; step++) {
    for (int call = 0; call < 2; call++) {
      schedule.enter(1, /*forward=*/true);
      schedule.will_repeat(1);
      schedule.leave(1, /*has_backward=*/true);
    }
    schedule.reset(0);
    backward(schedule, 2);  // the reduction waits for both
    end_step(schedule);
  }
}

// A device has one stream for both, and a rank that began them in another order would wait forever.
BOOST_AUTO_TEST_CASE(sums_between_replicas_alternate_with_those_of_shards_in_the_backward) {
  GroupSharding sharding;
  sharding.reducer = GroupSharding::Reducer::sharded;
  sharding.shards = sharding.replicas = 2;
  Reductions notes;
  const StepSchedule::Group group{sharding, /*unit=*/0, /*optimizer=*/0, /*members=*/1};
  StepSchedule schedule({group, group, group}, {{0, 0}}, {.in_flight = 1}, notes);
  schedule.begin_backward({0}, {0});
  for (const size_t g : {size_t{1}, size_t{2}, size_t{0}}) schedule.gradient_ready(g, 0);  // group 1 waits for group 2
  BOOST_TEST(notes.text == "21s20s1");
  schedule.end_backward({0});
  BOOST_TEST(notes.text == "21s20s1s0");
}

// The one whose step does not end has gradients, too.
BOOST_AUTO_TEST_CASE(a_backward_ends_the_step_of_one_optimizer_of_two) {
  const auto reductions = [](bool every_backward, GroupSharding::Reducer reducer) {
    GroupSharding sharding;
    sharding.reducer = reducer;
    sharding.reduces_early = reducer == GroupSharding::Reducer::reduce_scatter;
    sharding.shards = 2;
    sharding.replicas = sharding.reduces_early ? 1 : 2;
    Reductions notes;
    StepSchedule schedule({{sharding, 0, 0, 1}, {sharding, 0, 1, 1}}, {{0, 0}}, {.reduce_every_backward = every_backward}, notes);
    for (const auto& ending : {std::vector<size_t>{}, std::vector<size_t>{0}, std::vector<size_t>{1}}) {
      schedule.begin_backward({0, 1}, ending);
      schedule.gradient_ready(0, 0);
      schedule.gradient_ready(1, 0);
      schedule.end_backward({0, 1});
      notes.text += ' ';
      for (const size_t optimizer : ending) {
        schedule.synchronize(optimizer, [] {});
        schedule.reduce(optimizer, 1);
        schedule.update(optimizer, [] {});
        schedule.reset(optimizer);
      }
    }
    return notes.text;
  };
  BOOST_TEST(reductions(true, GroupSharding::Reducer::sharded) == "10 10s0 1s10 ");
  BOOST_TEST(reductions(false, GroupSharding::Reducer::sharded) == " 0s0 1s1 ");
  BOOST_TEST(reductions(true, GroupSharding::Reducer::reduce_scatter) == " 0 1 ");
}

BOOST_AUTO_TEST_SUITE_END()
