#include "../../src/cluster/thread_snapshot.h"

#include <dlfcn.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "levin/core/trace_context.h"
#include "levin_test.h"

using levin::detail::snapshot_thread;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_thread_snapshot)

namespace {

// A thread that stands in a hook, sleeping or computing.
class StandingThread {
 public:
  explicit StandingThread(bool sleeps)
      : thread_([this, sleeps] {
          levin::call_hook("training_step", [&] {
            ready_ = true;
            while (!done_)
              if (sleeps) std::this_thread::sleep_for(20ms);
          });
        }) {
    while (!ready_) std::this_thread::sleep_for(1ms);
  }
  ~StandingThread() {
    done_ = true;
    thread_.join();
  }
  StandingThread(const StandingThread&) = delete;
  StandingThread& operator=(const StandingThread&) = delete;
  pthread_t handle() { return thread_.native_handle(); }

 private:
  std::atomic<bool> ready_{false}, done_{false};
  std::thread thread_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(context_and_stack_of_another_thread) {
  for (const bool sleeps : {true, false}) {
    StandingThread thread(sleeps);
    for (int times = 0; times < 3; times++) {
      const auto snapshot = snapshot_thread(thread.handle(), 5s);
      BOOST_REQUIRE(snapshot.has_value());
      BOOST_TEST(snapshot->context == "\n  in training_step");
      BOOST_TEST(snapshot->addresses.size() >= 2u);
      for (const auto address : snapshot->addresses) {
        Dl_info object{};
        BOOST_TEST(dladdr(reinterpret_cast<void*>(address), &object) != 0);  // NOLINT(performance-no-int-to-ptr)
      }
    }
  }
}

// It is no handler for good: programs may use the signal themselves.
BOOST_AUTO_TEST_CASE(the_action_of_before_is_restored) {
  StandingThread thread(/*sleeps=*/true);
  struct sigaction before {
  }, after{};
  sigaction(SIGRTMIN + 5, nullptr, &before);
  BOOST_TEST(snapshot_thread(thread.handle(), 5s).has_value());
  sigaction(SIGRTMIN + 5, nullptr, &after);
  BOOST_TEST((before.sa_handler == after.sa_handler));
}

// A thread that cannot run the handler, as one in an uninterruptible wait, is given up, and what it does later harms nothing.
BOOST_AUTO_TEST_CASE(a_thread_that_does_not_answer) {
  std::atomic<bool> ready{false}, unblock{false}, done{false};
  std::thread thread([&] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ready = true;
    while (!unblock) std::this_thread::sleep_for(1ms);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    while (!done) std::this_thread::sleep_for(1ms);
  });
  while (!ready) std::this_thread::sleep_for(1ms);
  BOOST_TEST(!snapshot_thread(thread.native_handle(), 50ms).has_value());
  unblock = true;
  std::this_thread::sleep_for(20ms);
  BOOST_TEST(snapshot_thread(thread.native_handle(), 5s).has_value());
  done = true;
  thread.join();
}

BOOST_AUTO_TEST_SUITE_END()
