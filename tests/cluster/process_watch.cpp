#include "../../src/cluster/process_watch.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "fake_root.h"
#include "levin_test.h"

using levin::detail::describe_process;
using levin::detail::OomCounters;
using levin::detail::process_state;
using levin::detail::ProcessIdentity;
using levin::detail::this_process;
using levin::test::FakeRoot;

BOOST_AUTO_TEST_SUITE(cluster_process_watch)

namespace {

// A process that waits, and its identity, as it says itself.
class WaitingChild {
 public:
  WaitingChild() {
    int ends[2];
    BOOST_REQUIRE(pipe(ends) == 0);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const ProcessIdentity mine = this_process();
      if (write(ends[1], &mine, sizeof(mine)) != sizeof(mine)) _exit(1);
      while (true) pause();
    }
    BOOST_REQUIRE(read(ends[0], &identity, sizeof(identity)) == static_cast<ssize_t>(sizeof(identity)));
    close(ends[0]), close(ends[1]);
  }
  ~WaitingChild() {
    kill(child_, SIGKILL);
    reap();
  }
  WaitingChild(const WaitingChild&) = delete;
  WaitingChild& operator=(const WaitingChild&) = delete;
  void send(int number) const { kill(child_, number); }
  void reap() const { waitpid(child_, nullptr, 0); }

  ProcessIdentity identity;

 private:
  pid_t child_ = -1;
};

template <class Condition>
bool comes_true(const Condition& condition) {
  for (int tries = 0; tries < 500; tries++) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_CASE(states) {
  const WaitingChild child;
  BOOST_TEST(child.identity.started > 0u);
  BOOST_TEST(process_state(child.identity).has_value());
  BOOST_TEST(has(describe_process(child.identity), "is alive"));
  child.send(SIGSTOP);
  BOOST_TEST(comes_true([&] { return process_state(child.identity) == 'T'; }));
  BOOST_TEST(has(describe_process(child.identity), "is stopped (SIGSTOP)"));
  child.send(SIGCONT);
  BOOST_TEST(comes_true([&] { return process_state(child.identity) != 'T'; }));
  child.send(SIGKILL);
  BOOST_TEST(comes_true([&] { return !process_state(child.identity); }));  // a zombie, for nobody has reaped it
  BOOST_TEST(has(describe_process(child.identity), "no longer exists"));
  child.reap();
  BOOST_TEST(!process_state(child.identity));
}

BOOST_AUTO_TEST_CASE(another_process_with_its_number) {
  auto mine = this_process();
  BOOST_TEST(process_state(mine).has_value());
  mine.started++;
  BOOST_TEST(!process_state(mine));
  BOOST_TEST(!process_state({getpid(), 0}));
}

BOOST_AUTO_TEST_CASE(out_of_memory_in_a_cgroup) {
  const FakeRoot root;
  root.set("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  root.set("proc/vmstat", "pgfault 3\noom_kill 4\n");
  root.set("sys/fs/cgroup/slurm/job_7/step_0/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n");
  root.set("sys/fs/cgroup/slurm/job_7/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
  const OomCounters counters(root.path);
  BOOST_TEST(counters.risen() == "");
  root.set("proc/vmstat", "pgfault 3\noom_kill 5\n");
  BOOST_TEST(has(counters.risen(), "vmstat: 4, now 5"), counters.risen());
  root.set("sys/fs/cgroup/slurm/job_7/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n");
  BOOST_TEST(has(counters.risen(), "out of memory: the kernel killed it, or a process beside it (oom_kill in "), counters.risen());
  BOOST_TEST(has(counters.risen(), "job_7/memory.events: 1, now 2)"), counters.risen());
}

BOOST_AUTO_TEST_CASE(out_of_memory_in_version_1) {
  const FakeRoot root;
  root.set("proc/self/cgroup", "5:cpuset:/other\n4:cpu,memory:/pbs/job\n0::/\n");
  root.set("sys/fs/cgroup/memory/pbs/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
  const OomCounters counters(root.path);
  root.set("sys/fs/cgroup/memory/pbs/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  BOOST_TEST(has(counters.risen(), "memory.oom_control: 0, now 1"), counters.risen());
}

BOOST_AUTO_TEST_CASE(no_counters) {
  const FakeRoot root;
  BOOST_TEST(OomCounters(root.path).risen() == "");
  BOOST_TEST(OomCounters().risen() == "");
}

BOOST_AUTO_TEST_SUITE_END()
