#include "levin/cluster/deadline.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "levin_test.h"

using levin::Deadline;
using levin::StopClock;
using levin::TimeLeft;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_deadline)

namespace {

/// A folder in front of PATH with programs of our own.
class FakeCommands {
 public:
  FakeCommands() : path_(std::getenv("PATH")) {
    std::string folder = (std::filesystem::temp_directory_path() / "levin_deadline.XXXXXX").string();
    folder_ = mkdtemp(folder.data());
    setenv("PATH", (folder_.string() + ":" + path_).c_str(), 1);
  }
  ~FakeCommands() {
    setenv("PATH", path_.c_str(), 1);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  void add(const std::string& name, const std::string& script) const {
    std::ofstream(folder_ / name) << "#!/bin/sh\n" << script << "\n";
    chmod((folder_ / name).c_str(), 0755);
  }

 private:
  std::string path_;
  std::filesystem::path folder_;
};

double left_of(const levin::BatchJob& job) {
  std::string problem;
  const auto left = levin::ask_time_left(job, {}, problem);
  return left ? left->seconds : -1;
}

std::string problem_of(const levin::BatchJob& job) {
  std::string problem;
  BOOST_TEST(!levin::ask_time_left(job, {}, problem));
  return problem;
}

bool becomes_known(const Deadline& deadline) {
  for (int i = 0; i < 1000 && !deadline.get(); i++) std::this_thread::sleep_for(10ms);
  return deadline.get().has_value();
}

}  // namespace

BOOST_AUTO_TEST_CASE(slurm_is_asked) {
  const FakeCommands commands;
  levin::BatchJob job{.system = levin::BatchSystem::slurm, .id = "12_3"};
  commands.add("squeue", "test \"$*\" = '-h -j 12_3 -o %L' && echo 1:00:00");
  BOOST_TEST(left_of(job) == 3600);
  job.end_time = time(nullptr) + 500;
  BOOST_TEST(std::abs(left_of(job) - 500) < 5);  // without squeue
  job.end_time = time(nullptr) - 500;
  BOOST_TEST(left_of(job) == 3600);  // of another clock
  job.end_time.reset();
  commands.add("squeue", "echo UNLIMITED");
  BOOST_TEST(left_of(job) == std::numeric_limits<double>::infinity());
  commands.add("squeue", "echo INVALID");
  BOOST_TEST(problem_of(job) == "squeue: \"INVALID\"");
  commands.add("squeue", "echo 'squeue: error: down' >&2; exit 1");
  BOOST_TEST(problem_of(job) == "squeue: exit status 1: squeue: error: down");
}

BOOST_AUTO_TEST_CASE(pbs_is_asked) {
  const FakeCommands commands;
  levin::BatchJob job{.system = levin::BatchSystem::pbs, .id = "12.head"};
  commands.add(
      "qstat",
      R"(test "$*" = '-f -F json 12.head' && echo '{"Jobs":{"12.head":{"Resource_List":{"walltime":"01:00:00"},"stime":'$(($(date +%s) - 600))'}}}')");
  BOOST_TEST(std::abs(left_of(job) - 3000) < 5);
  const auto restarts_with = [&](const std::string& count) {
    commands.add("qstat", R"(echo '{"Jobs":{"12.head":{"run_count":)" + count + "}}}'");
    std::string problem;
    std::optional<int64_t> restarts;
    BOOST_TEST(!levin::ask_time_left(job, {}, problem, &restarts));  // a job without a limit
    return restarts.value_or(-1);
  };
  BOOST_TEST(restarts_with("1") == 0);
  BOOST_TEST(restarts_with("4") == 3);
  BOOST_TEST(restarts_with("0") == 0);
  BOOST_TEST(restarts_with("\"many\"") == -1);
  commands.add("qstat", "echo 'usage: qstat' >&2; exit 2");
  BOOST_TEST(problem_of(job) == "qstat: exit status 2: usage: qstat");
  job.time_limit = 7200;  // Torque; from the start of this session
  BOOST_TEST((left_of(job) > -1e9 && left_of(job) <= 7200));
  BOOST_TEST(problem_of({.system = levin::BatchSystem::lsf, .id = "1"}) != "");
}

BOOST_AUTO_TEST_CASE(the_earlier_end_counts) {
  const auto now = Deadline::Clock::now();
  const auto answer = [](double seconds) {
    return [seconds](const std::stop_token&, std::string&) { return std::optional(TimeLeft{seconds, "test"}); };
  };
  const Deadline none, limit({}, levin::Seconds{100}, now, {});
  BOOST_TEST(!none.get());
  BOOST_TEST((limit.get().value() == now + 100s));
  Deadline asked(answer(50), {}, now, {});
  BOOST_TEST(becomes_known(asked));
  BOOST_TEST((asked.seconds_left().value() > 30 && asked.seconds_left().value() <= 50));
  Deadline unlimited(answer(std::numeric_limits<double>::infinity()), {}, now, {});
  Deadline both(answer(5000), levin::Seconds{100}, now, {});
  std::this_thread::sleep_for(50ms);
  BOOST_TEST(!unlimited.get());
  BOOST_TEST((both.get().value() == now + 100s));
}

BOOST_AUTO_TEST_CASE(a_scheduler_that_does_not_answer_is_asked_again) {
  std::atomic<int> calls = 0;
  Deadline late(
      [&calls](const std::stop_token&, std::string&) {
        return ++calls == 3 ? std::optional(TimeLeft{9, "test"}) : std::nullopt;
      },
      {}, {}, {}, {1ms, 1ms, 1ms});
  BOOST_TEST(becomes_known(late));
  BOOST_TEST(calls == 3);
  const auto began = std::chrono::steady_clock::now();
  {
    std::atomic<int> asked = 0;
    Deadline never([&asked](const std::stop_token&, std::string&) -> std::optional<TimeLeft> { return asked++, std::nullopt; }, {}, {}, {},
                   {1h});
    while (asked == 0) std::this_thread::yield();
  }  // its end does not wait for the pause
  BOOST_TEST((std::chrono::steady_clock::now() - began < 10s));
}

BOOST_AUTO_TEST_CASE(the_clock_keeps_time_for_a_step_and_a_save) {
  const Deadline::Clock::time_point start{1h};
  StopClock clock(/*margin=*/2, levin::Seconds{10});
  const auto deadline = start + 100s;
  BOOST_TEST(!clock.must_stop(start, std::nullopt, 5));  // no deadline is known
  BOOST_TEST(!clock.must_stop(start + 8s, deadline, 5));
  BOOST_TEST(clock.seconds_needed() == 8 + 2 * 5 + 10);
  BOOST_TEST(!clock.must_stop(start + 12s, deadline, 5));
  BOOST_TEST(clock.seconds_needed() == 28);  // the longest counts
  BOOST_TEST(!clock.must_stop(start + 17s, deadline, 5));
  BOOST_TEST(!clock.must_stop(start + 24s, start + 52s, 5));
  BOOST_TEST(clock.must_stop(start + 25s, start + 52s, 5));
  BOOST_TEST(!clock.must_stop(start + 26s, start + 60s, 5));
  BOOST_TEST(clock.must_stop(start + 27s, start + 60s, 20));  // a save was slower
  BOOST_TEST(clock.must_stop(start + 28s, start, 5));         // over already
}

BOOST_AUTO_TEST_CASE(a_long_pause_is_forgotten_in_time) {
  const Deadline::Clock::time_point start{1h};
  StopClock clock(1, levin::Seconds{0});
  clock.must_stop(start, {}, 0);
  clock.must_stop(start + 20min, {}, 0);
  BOOST_TEST(clock.seconds_needed() == 1200);
  for (auto at = 21min; at <= 50min; at += 1min) clock.must_stop(start + at, {}, 0);
  BOOST_TEST(clock.seconds_needed() == 1200);
  for (auto at = 51min; at <= 62min; at += 1min) clock.must_stop(start + at, {}, 0);
  BOOST_TEST(clock.seconds_needed() == 60);
}

BOOST_AUTO_TEST_SUITE_END()
