#include "levin/comm/flight_record.h"

#include <time.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/comm/wait_timer.h"
#include "levin_test.h"

using levin::CallSlot;
using levin::Communicator;
using levin::FlightRecord;
using levin::WaitTimer;
using levin::test::runtime;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(comm_flight_record)

namespace {

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// Of this thread: other processes may have the core.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

BOOST_AUTO_TEST_CASE(phases_nest) {
  FlightRecord record;
  BOOST_TEST((std::string(record.phase()) == "start" && !record.unbounded() && record.progress() == 0u));
  {
    const FlightRecord::Phase fit(record, "fit");
    {
      const FlightRecord::Phase data(record, "prepare_data", /*unbounded=*/true);
      const FlightRecord::Phase inside(record, "inside");
      BOOST_TEST((std::string(record.phase()) == "inside" && record.unbounded()));
    }
    BOOST_TEST((std::string(record.phase()) == "fit" && !record.unbounded()));
  }
  BOOST_TEST(std::string(record.phase()) == "start");
  record.advance();
  record.set_step(5);
  BOOST_TEST((record.progress() == 1u && record.step() == 5));
}

BOOST_AUTO_TEST_CASE(calls_of_communicators) {
  FlightRecord record;
  const auto first = record.add_communicator();
  auto second = record.add_communicator();
  BOOST_TEST(record.calls() == "");
  {
    const CallSlot::Scope scope(*first);
    first->begin("all_reduce", 7, 100, "Float", "unit \"encoder\"");
    BOOST_TEST(record.calls() == "all_reduce number 7 of 100 Float for unit \"encoder\"");
    second->begin("barrier", 2, 0, nullptr, "");
    BOOST_TEST(record.calls() == "all_reduce number 7 of 100 Float for unit \"encoder\"; barrier number 2");
  }
  BOOST_TEST(record.calls() == "barrier number 2");
  second.reset();
  BOOST_TEST(record.calls() == "");
  first->begin("barrier", 3, 0, nullptr, std::string(200, 'x'));
  BOOST_TEST(record.calls() == "barrier number 3 for " + std::string(71, 'x'));
}

// A reader on another thread sees whole calls.
BOOST_AUTO_TEST_CASE(no_mixture_of_calls) {
  FlightRecord record;
  const auto slot = record.add_communicator();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    const std::string odd(60, 'o'), even(60, 'e');
    for (uint64_t number = 0; !done; number++) slot->begin("barrier", number, 0, nullptr, number % 2 == 0 ? even : odd);
  });
  for (int reads = 0; reads < 20000; reads++) {
    const auto text = record.calls();
    if (text.empty() || text.starts_with("a call")) continue;
    const bool even = (text.at(text.find(" for ") - 1) - '0') % 2 == 0;
    if (text.substr(text.find(" for ") + 5) != std::string(60, even ? 'e' : 'o')) {
      BOOST_ERROR("a mixture: " << text);
      break;
    }
  }
  done = true;
  writer.join();
}

BOOST_AUTO_TEST_CASE(a_step_costs_less_than_a_microsecond) {
  FlightRecord record;
  const auto slot = record.add_communicator();
  constexpr int times = 100000;
  const double began = cpu_seconds();
  for (int i = 0; i < times; i++) {
    const CallSlot::Scope scope(*slot);
    slot->begin("exchange", static_cast<uint64_t>(i), 5, "Double", "the agreement of the ranks");
    record.set_step(i);
    record.advance();
  }
  const double each = (cpu_seconds() - began) / times;
  BOOST_TEST(each < 1e-6, each << " s");
}

// A rank that waits in a barrier shows it, with its label; all communicators of a rank share the record.
BOOST_AUTO_TEST_CASE(a_wait_for_a_late_rank) {
  const auto communicator = Communicator::create_cpu(runtime());
  const auto part = communicator->split(0, communicator->rank());
  BOOST_TEST(&part->node()->flight() == &communicator->node()->flight());
  const FlightRecord& record = communicator->node()->flight();
  BOOST_TEST(record.calls() == "");
  communicator->barrier();
  const bool late = communicator->rank() == 0;
  const auto before = WaitTimer::waited();
  std::string seen;
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done && (seen = record.calls()).empty()) std::this_thread::sleep_for(1ms);
  });
  if (late) std::this_thread::sleep_for(600ms);
  part->barrier("a late rank");
  done = true;
  reader.join();
  const double waited = seconds(WaitTimer::waited() - before);
  if (!late) {
    BOOST_TEST((seen.starts_with("barrier number ") && seen.ends_with(" for a late rank")), seen);
    BOOST_TEST(waited > 0.1);
  }
  BOOST_TEST(record.calls() == "");
}

BOOST_AUTO_TEST_CASE(nested_waits_count_once) {
  const auto before = WaitTimer::waited();
  const auto began = std::chrono::steady_clock::now();
  {
    const WaitTimer outer;
    const WaitTimer inner;
    std::this_thread::sleep_for(20ms);
  }
  const double waited = seconds(WaitTimer::waited() - before);
  BOOST_TEST((waited >= 0.02 && waited <= seconds(std::chrono::steady_clock::now() - began)), waited);
  std::chrono::nanoseconds of_another{-1};
  std::thread([&] { of_another = WaitTimer::waited(); }).join();
  BOOST_TEST(of_another.count() == 0);
}

BOOST_AUTO_TEST_SUITE_END()
