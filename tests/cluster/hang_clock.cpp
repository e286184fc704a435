#include "../../src/cluster/hang_clock.h"

#include "levin_test.h"

using levin::detail::HangClock;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_hang_clock)

namespace {

// Looks at the rank every 100 ms of a clock of the test.
class Watched {
 public:
  explicit Watched(double timeout) : clock(timeout, 100ms) { clock.observe(now_, 0, false); }
  void pass(std::chrono::milliseconds time, bool unbounded = false) {
    for (; time > 0ms; time -= 100ms) clock.observe(now_ += 100ms, progress, unbounded);
  }
  void stop_process(std::chrono::milliseconds time) { clock.observe(now_ += time, progress, false); }
  HangClock clock;
  uint64_t progress = 0;

 private:
  HangClock::Clock::time_point now_{};
};

}  // namespace

BOOST_AUTO_TEST_CASE(hangs_without_progress) {
  Watched rank(2);
  rank.progress = 1;
  rank.pass(100ms);
  rank.pass(1900ms);
  BOOST_TEST(!rank.clock.hangs());
  BOOST_TEST(rank.clock.stands_still());
  rank.progress = 2;
  rank.pass(100ms);
  BOOST_TEST(!rank.clock.stands_still());
  rank.pass(1900ms);
  BOOST_TEST(!rank.clock.hangs());
  rank.pass(100ms);
  BOOST_TEST(rank.clock.hangs());
  BOOST_TEST(rank.clock.idle_seconds() == 2, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(the_start_takes_longer) {
  Watched rank(2);
  rank.pass(7900ms);
  BOOST_TEST(!rank.clock.hangs());
  rank.pass(100ms);
  BOOST_TEST(rank.clock.hangs());
}

BOOST_AUTO_TEST_CASE(unbounded_phases_do_not_count) {
  Watched rank(2);
  rank.pass(7000ms);
  rank.pass(100'000ms, /*unbounded=*/true);
  BOOST_TEST(!rank.clock.stands_still());
  rank.pass(7900ms);
  BOOST_TEST(!rank.clock.hangs());
}

// A batch system may stop all processes of a job for hours, and continue them.
BOOST_AUTO_TEST_CASE(time_in_which_the_process_was_stopped_does_not_count) {
  Watched rank(2);
  rank.progress = 1;
  rank.pass(100ms);
  rank.stop_process(10'000'000ms);
  BOOST_TEST(!rank.clock.hangs());
  BOOST_TEST(rank.clock.idle_seconds() < 1);
  rank.pass(2000ms);
  BOOST_TEST(rank.clock.hangs());
}

BOOST_AUTO_TEST_SUITE_END()
