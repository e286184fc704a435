#include "levin/core/hdf5_lock.h"

#include <atomic>
#include <thread>

#include "levin_test.h"

using levin::Hdf5Lock;

BOOST_AUTO_TEST_SUITE(core_hdf5_lock)

BOOST_AUTO_TEST_CASE(one_thread_at_a_time) {
  int64_t inside = 0, most = 0, turns = 0;  // not atomic: the lock is what keeps them right
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&] {
      for (int round = 0; round < 5000; round++) {
        const Hdf5Lock lock;
        most = std::max(most, ++inside);
        ++turns;
        --inside;
      }
    });
  for (auto& thread : threads) thread.join();
  BOOST_TEST(most == 1);
  BOOST_TEST(turns == 20000);
}

BOOST_AUTO_TEST_CASE(its_owner_may_take_it_again) {
  std::atomic<bool> entered{false};
  std::thread other;
  {
    const Hdf5Lock outer;
    other = std::thread([&] {
      const Hdf5Lock lock;
      entered = true;
    });
    { const Hdf5Lock inner; }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    BOOST_TEST(!entered);
  }
  other.join();
  BOOST_TEST(entered);
}

BOOST_AUTO_TEST_CASE(a_loop_of_calls_lets_others_in_between) {
  std::atomic<bool> counting{false}, done{false};
  std::atomic<int> calls_meanwhile{0};
  std::thread loop([&] {
    while (!done) {
      const Hdf5Lock lock;
      if (counting) ++calls_meanwhile;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  for (int round = 0; round < 20; round++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    calls_meanwhile = 0;
    counting = true;
    const Hdf5Lock lock;
    counting = false;
    BOOST_TEST(calls_meanwhile <= 3);  // the one under way, and what came before our ticket
  }
  done = true;
  loop.join();
}

BOOST_AUTO_TEST_SUITE_END()
