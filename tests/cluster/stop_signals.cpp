#include "levin/cluster/stop_signals.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "levin_test.h"

using levin::StopReason;
using levin::StopSignal;
using levin::StopSignals;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_stop_signals)

namespace {

const std::vector<StopSignal> all_signals{StopSignal::usr1, StopSignal::usr2, StopSignal::term, StopSignal::hup};

// How a child ends that does this; 0: well.
template <class Act>
int end_of_child(const Act& act) {
  const pid_t child = fork();
  if (child == 0) {
    act();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

bool is_reason(StopReason reason) { return StopSignals::reason() == reason; }

}  // namespace

BOOST_AUTO_TEST_CASE(reasons) {
  std::signal(SIGHUP, SIG_DFL);  // nohup ignores it
  for (const auto& [number, reason] :
       {std::pair(SIGUSR1, StopReason::restart), std::pair(SIGUSR2, StopReason::restart), std::pair(SIGHUP, StopReason::restart),
        std::pair(SIGTERM, StopReason::terminated), std::pair(SIGINT, StopReason::interrupted)}) {
    const StopSignals signals(all_signals);
    BOOST_TEST((!StopSignals::reason() && StopSignals::arrived() == 0));
    for (int i = 0; i < (number == SIGINT ? 1 : 10); i++) raise(number);  // duplicates change nothing
    BOOST_TEST(is_reason(reason), number);
  }
  const StopSignals signals(all_signals);
  raise(SIGUSR1);
  raise(SIGTERM);
  BOOST_TEST(is_reason(StopReason::terminated));
  raise(SIGINT);
  BOOST_TEST(is_reason(StopReason::interrupted));
  BOOST_TEST(StopSignals::names(StopSignals::arrived()) == "SIGINT, SIGTERM, SIGUSR1");
  BOOST_TEST(StopSignals::names(0) == "");
}

// Of signals that wait for the process, the kernel hands over those with small numbers first: TERM comes last.
BOOST_AUTO_TEST_CASE(an_announced_end) {
  std::signal(SIGHUP, SIG_DFL);
  const auto announced = [](const std::vector<int>& numbers, bool at_once = false) {
    const StopSignals signals(all_signals);
    sigset_t blocked, before;
    sigemptyset(&blocked);
    for (const int number : numbers) sigaddset(&blocked, number);
    if (at_once) pthread_sigmask(SIG_BLOCK, &blocked, &before);
    for (const int number : numbers) raise(number);
    if (at_once) pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return StopSignals::announced_end(StopSignals::arrived());
  };
  for (const int number : {SIGUSR1, SIGUSR2, SIGHUP}) {
    BOOST_TEST(announced({number, SIGTERM}), number);
    BOOST_TEST(announced({number, SIGTERM}, /*at_once=*/true), number);
    BOOST_TEST(!announced({SIGTERM, number}), number);
    BOOST_TEST(!announced({SIGTERM, number, SIGTERM}), number);  // the second TERM is a repetition
    BOOST_TEST(!announced({number}), number);
  }
  BOOST_TEST(!announced({SIGTERM}));
  BOOST_TEST(!announced({SIGINT, SIGTERM}));
}

BOOST_AUTO_TEST_CASE(two_interrupts_end_the_program_at_once) {
  BOOST_TEST(end_of_child([] {
               const StopSignals signals(all_signals);
               raise(SIGINT);
               raise(SIGINT);  // a launcher's duplicate
             }) == 0);
  BOOST_TEST(end_of_child([] {
               const StopSignals signals(all_signals);
               raise(SIGINT);
               std::this_thread::sleep_for(300ms);
               raise(SIGINT);
             }) == SIGINT);
}

BOOST_AUTO_TEST_CASE(signals_that_are_not_chosen_keep_their_actions) {
  BOOST_TEST(end_of_child([] {
               const StopSignals signals({StopSignal::usr2});
               raise(SIGUSR1);
             }) == SIGUSR1);
  BOOST_TEST(end_of_child([] {
               std::signal(SIGHUP, SIG_IGN);  // nohup
               const StopSignals signals(all_signals);
               raise(SIGHUP);
               _exit(StopSignals::reason() ? 1 : 0);
             }) == 0);
}

BOOST_AUTO_TEST_CASE(the_handlers_of_before_are_put_back) {
  static volatile std::sig_atomic_t seen = 0;
  const auto before = std::signal(SIGUSR1, [](int) { seen = 1; });
  { const StopSignals signals({StopSignal::usr1, StopSignal::usr1}); }
  raise(SIGUSR1);
  std::signal(SIGUSR1, before);
  BOOST_TEST(seen == 1);
}

BOOST_AUTO_TEST_CASE(a_signal_breaks_no_system_call) {
  const StopSignals signals(all_signals);
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pthread_t reader = pthread_self();
  std::thread writer([&] {
    std::this_thread::sleep_for(100ms);
    pthread_kill(reader, SIGUSR1);
    std::this_thread::sleep_for(100ms);
    BOOST_REQUIRE(write(ends[1], "x", 1) == 1);
  });
  char byte = 0;
  BOOST_TEST(read(ends[0], &byte, 1) == 1);
  writer.join();
  BOOST_TEST(is_reason(StopReason::restart));
  close(ends[0]);
  close(ends[1]);
}

BOOST_AUTO_TEST_SUITE_END()
