#include "../../src/trainer/straggler_report.h"

#include <thread>

#include "levin/comm/wait_timer.h"
#include "levin_test.h"

using levin::find_slow_ranks;
using levin::StepTimes;
using levin::WaitTimer;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(trainer_straggler_report)

namespace {

std::vector<int> slow_ranks(const std::vector<double>& seconds) {
  std::vector<int> ranks;
  for (const auto& slow : find_slow_ranks(seconds)) ranks.push_back(slow.rank);
  return ranks;
}
using SlowRanks = std::vector<int>;

}  // namespace

BOOST_AUTO_TEST_CASE(who_is_slow) {
  BOOST_TEST(slow_ranks({1, 1, 1, 1}) == SlowRanks{});
  BOOST_TEST(slow_ranks({1, 1, 2, 1}) == SlowRanks{2});
  BOOST_TEST(slow_ranks({1, 2}) == SlowRanks{1});          // two ranks suffice
  BOOST_TEST(slow_ranks({1, 1.09, 1, 1}) == SlowRanks{});  // not by 10 %
  BOOST_TEST(slow_ranks({1, 1.11, 1, 1}) == SlowRanks{1});
  BOOST_TEST((slow_ranks({1, 3, 1, 2, 1, 1, 1, 1}) == SlowRanks{1, 3}));  // the slowest first
  BOOST_TEST(slow_ranks({5, 1, 5, 1, 5, 1, 5, 1, 6}) == SlowRanks{8});
  BOOST_TEST(slow_ranks({1, 2, 3, 4, 5, 4.3}) == SlowRanks{4});  // more than 10 % above the mean, within a standard deviation
}

BOOST_AUTO_TEST_CASE(ranks_without_times_take_no_part) {
  BOOST_TEST(slow_ranks({}) == SlowRanks{});
  BOOST_TEST(slow_ranks({3}) == SlowRanks{});
  BOOST_TEST(slow_ranks({0, 3, 0}) == SlowRanks{});
  BOOST_TEST(slow_ranks({0, 3, 1}) == SlowRanks{1});
}

BOOST_AUTO_TEST_CASE(what_is_reported) {
  const auto slow = find_slow_ranks(std::vector<double>{1, 4, 2});
  BOOST_REQUIRE(slow.size() == 1u);
  BOOST_TEST(slow[0].rank == 1);
  BOOST_TEST(slow[0].seconds == 4);
  BOOST_TEST(slow[0].others == 1.5);
}

// The waits for other ranks, and what lies between two steps, do not count.
BOOST_AUTO_TEST_CASE(times_of_steps) {
  StepTimes times;
  BOOST_TEST(times.take() == 0);
  for (int step = 0; step < 3; step++) {
    for (int micro_batch = 0; micro_batch < 2; micro_batch++) {
      times.resume();
      times.resume();
      std::this_thread::sleep_for(5ms);
      {
        const WaitTimer wait;
        std::this_thread::sleep_for(100ms);
      }
      times.pause();
      std::this_thread::sleep_for(100ms);
    }
    times.end_step();
  }
  const double median = times.take();
  BOOST_TEST((median >= 0.01 && median < 0.09), median);
  BOOST_TEST(times.take() == 0);
}

// One slow step, as by a page fault or another job, changes nothing.
BOOST_AUTO_TEST_CASE(the_median_counts) {
  StepTimes times;
  for (int step = 0; step < 1500; step++) {
    times.resume();
    if (step % 1000 == 999) std::this_thread::sleep_for(50ms);
    times.end_step();
  }
  BOOST_TEST(times.take() < 0.01);
}

BOOST_AUTO_TEST_SUITE_END()
