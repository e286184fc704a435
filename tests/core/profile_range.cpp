#include "levin/core/profile_range.h"

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "levin/core/trace_context.h"
#include "levin_test.h"

using namespace levin;

BOOST_AUTO_TEST_SUITE(core_profile_range)

namespace {

struct Classifier {};

struct NotedRanges : RangeObserver {
  void begin(const RangeName& range) noexcept override {
    notes.push_back(std::to_string(static_cast<int>(range.kind)) + " " + std::string(range.name) + " " + std::string(range.owner));
  }
  void end() noexcept override { notes.emplace_back("end"); }
  std::vector<std::string> notes;
};

}  // namespace

BOOST_AUTO_TEST_CASE(an_observer_sees_hooks_units_and_marked_ranges_of_its_thread) {
  NotedRanges ranges;
  const Classifier model{}, unit{};
  { const ProfileRange before("before"); }
  {
    const HookScope open("open before");
    const ObservedThread observed(&ranges);
    BOOST_TEST((ObservedThread::current() == &ranges));
    const RunScope::Names names{{&unit, "encoder"}};
    const int64_t step = 0;
    const RunScope run(names, step);
    {
      const HookScope hook("training_step", &typeid(model));
      const UnitScope named(&unit, typeid(unit)), unnamed(&model, typeid(model));
      const ProfileRange range("tokenize");
    }
    std::thread([] { const ProfileRange elsewhere("on another thread"); }).join();
    const ObservedThread nobody(nullptr);
    const ProfileRange unseen("unseen");
  }
  { const ProfileRange after("after"); }
  BOOST_TEST(!ObservedThread::current());
  const std::vector<std::string> expected{
      "1 training_step Classifier", "2 encoder ", "2 Classifier ", "4 tokenize ", "end", "end", "end", "end"};
  BOOST_TEST(ranges.notes == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_exception_ends_its_ranges) {
  NotedRanges ranges;
  const ObservedThread observed(&ranges);
  BOOST_CHECK_THROW(call_hook("backward",
                              [] {
                                const ProfileRange range("inner");
                                throw std::runtime_error("broken");
                              }),
                    std::runtime_error);
  BOOST_TEST(ranges.notes.size() == 4);
  BOOST_TEST(ranges.notes.back() == "end");
}

BOOST_AUTO_TEST_SUITE_END()
