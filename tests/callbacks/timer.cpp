#include "levin/callbacks/timer.h"

#include <thread>

#include "../trainer/toy.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::Seconds;
using levin::Stage;
using levin::Timer;
using levin::TimerConfig;

BOOST_AUTO_TEST_SUITE(callbacks_timer)

namespace {

// Trains with steps that the last rank alone makes long: the others' clocks tell them nothing of it until they wait for it.
struct Timed {
  explicit Timed(const TimerConfig& timer_config, levin::TrainerConfig config = {}) : timer(std::make_shared<Timer>(timer_config)) {
    if (!config.max_epochs) config.max_epochs = 1000;
    config.num_sanity_val_steps = 0;
    trainer = std::make_shared<levin::Trainer>(config, runtime());
    trainer->add_callback(timer);
    module = trainer->build<Toy>();
    if (runtime().rank() == runtime().size() - 1) module->in_step = [] { std::this_thread::sleep_for(std::chrono::milliseconds(10)); };
    trainer->fit(*module, data);
  }

  /// Whether all ranks made the same number of steps.
  bool together() const {
    const auto steps = static_cast<double>(trainer->global_step());
    return over_ranks(trainer->session(), steps) == steps * runtime().size();
  }

  ToyData data;
  std::shared_ptr<Timer> timer;
  std::shared_ptr<levin::Trainer> trainer;
  std::shared_ptr<Toy> module;
};

}  // namespace

BOOST_AUTO_TEST_CASE(all_ranks_stop_after_the_same_step) {
  const Timed run({.duration = Seconds{0.23}});
  BOOST_TEST(run.trainer->report().stop_reason == "timer: 0.23 s are over");
  BOOST_TEST(run.trainer->global_step() > 0);
  BOOST_TEST(run.trainer->global_step() <= 25);
  BOOST_TEST(run.together());
  BOOST_TEST(run.timer->time_elapsed().value >= 0.23);
  BOOST_TEST(run.timer->time_remaining()->value <= 0);
  BOOST_TEST(run.timer->time_remaining()->value == 0.23 - run.timer->time_elapsed().value);
}

BOOST_AUTO_TEST_CASE(all_ranks_stop_at_the_same_end_of_an_epoch) {
  for (const double duration : {0.12, 0.001}) {
    const Timed run({.duration = Seconds{duration}, .interval = levin::Interval::epoch});
    BOOST_TEST(run.trainer->report().stop_reason == "timer: " + Seconds{duration}.to_text() + " are over");
    BOOST_TEST(run.trainer->report().epochs > 0);
    BOOST_TEST(run.trainer->report().epochs <= 4);
    BOOST_TEST(run.trainer->global_step() == 5 * run.trainer->report().epochs);
    BOOST_TEST(run.together());
    if (duration == 0.001) BOOST_TEST(run.trainer->report().epochs == 1);
  }
}

BOOST_AUTO_TEST_CASE(a_stop_waits_for_min_epochs) {
  BOOST_TEST(Timed({.duration = Seconds{0.001}}, {.min_epochs = 2}).trainer->global_step() == 10);
}

BOOST_AUTO_TEST_CASE(time_that_is_enough_changes_nothing) {
  for (const auto interval : {levin::Interval::step, levin::Interval::epoch}) {
    const Timed run({.duration = Seconds{3600}, .interval = interval}, {.max_epochs = 2});
    BOOST_TEST(run.trainer->global_step() == 10);
    BOOST_TEST(run.trainer->report().stop_reason == "finished");
  }
}

BOOST_AUTO_TEST_CASE(each_stage_has_its_time) {
  Timed run({}, {.max_epochs = 1});
  const Timer& timer = *run.timer;
  BOOST_TEST(!timer.time_remaining().has_value());
  BOOST_TEST(timer.time_elapsed(Stage::fit).value > 0.03);  // five steps
  BOOST_TEST(timer.time_elapsed(Stage::validate).value > 0);
  BOOST_TEST((timer.time_elapsed(Stage::validate) < timer.time_elapsed(Stage::fit)));
  BOOST_TEST(timer.time_elapsed(Stage::test).value == 0);
  run.trainer->test(*run.module, run.data);
  const Seconds test = timer.time_elapsed(Stage::test);
  BOOST_TEST(test.value > 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  BOOST_TEST((timer.time_elapsed(Stage::test) == test));  // it is over
}

BOOST_AUTO_TEST_CASE(a_second_fit_has_the_whole_time) {
  Timed run({.duration = Seconds{0.02}});
  const int64_t steps = run.trainer->global_step();
  run.trainer->fit(*run.module, run.data);
  BOOST_TEST(run.trainer->global_step() > steps);
  BOOST_TEST(run.timer->time_elapsed().value < 0.02 + 0.5);
  check_throws<levin::ConfigError>([] { Timer({.duration = Seconds{0}}); }, {"duration", "greater than 0 s"});
}

BOOST_AUTO_TEST_SUITE_END()
