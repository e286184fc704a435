#include "levin/profilers/profiler_schedule.h"

#include <fstream>
#include <sstream>

#include "levin_test.h"
#include "test_paths.h"

using levin::ProfilerAction;
using levin::ProfilerSchedule;

BOOST_AUTO_TEST_SUITE(profilers_profiler_schedule)

// A line: skip_first, wait, warmup, active, repeat, and the first letter of torch.profiler.schedule's action at each step.
BOOST_AUTO_TEST_CASE(actions_are_those_of_pytorch) {
  std::ifstream file(LEVIN_TESTS "/reference/profiler_schedule.txt");
  int lines = 0;
  for (std::string line; std::getline(file, line); lines++) {
    std::istringstream words(line);
    ProfilerSchedule schedule;
    std::string expected, actions;
    words >> schedule.skip_first >> schedule.wait >> schedule.warmup >> schedule.active >> schedule.repeat >> expected;
    for (size_t step = 0; step < expected.size(); step++)
      actions += "NWRS"[static_cast<size_t>(schedule.action(static_cast<int64_t>(step)))];
    BOOST_TEST(actions == expected, line);
  }
  BOOST_TEST(lines == 8);
}

BOOST_AUTO_TEST_SUITE_END()
