#include "levin/data/batch_plan.h"

#include <algorithm>
#include <limits>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::BatchPlan;
using levin::BatchPlanInput;
using levin::ConfigError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_batch_plan)

namespace {

BatchPlanInput input(int64_t samples, int64_t batch_size, int64_t global_batch_size, int64_t world_size, int64_t accumulate,
                     bool drop_last = false) {
  return {samples, batch_size, global_batch_size, world_size, accumulate, drop_last};
}

// What holds for every plan.
void check_plan(const BatchPlanInput& in) {
  const BatchPlan plan(in);
  int64_t next = 0;
  for (int64_t batch = 0; batch < plan.batches(); ++batch) {
    BOOST_REQUIRE(plan.batch_at(next) == batch);
    BOOST_REQUIRE(plan.global_range(batch).begin == next);
    BOOST_REQUIRE(!plan.global_range(batch).empty());
    int64_t largest = 0, smallest = std::numeric_limits<int64_t>::max(), before = std::numeric_limits<int64_t>::max();
    for (int64_t rank = 0; rank < in.world_size; ++rank) {
      const auto range = plan.range(batch, rank);
      BOOST_REQUIRE(range.begin == next);  // contiguous: nothing twice, nothing left out
      BOOST_REQUIRE(range.size() <= before);
      next = range.end;
      before = range.size();
      largest = std::max(largest, range.size());
      smallest = std::min(smallest, range.size());
      if (in.batch_size) BOOST_REQUIRE(range.size() <= in.batch_size);
    }
    BOOST_REQUIRE(next == plan.global_range(batch).end);
    BOOST_REQUIRE(largest - smallest <= 1);
    BOOST_REQUIRE(!plan.range(batch, 0).empty());
    // Only the last step is short.
    const bool last_step = plan.step_of(batch) + 1 == plan.steps();
    if (!last_step || in.samples % plan.step_samples() == 0) BOOST_REQUIRE(smallest >= 1);
  }
  BOOST_REQUIRE(next == plan.samples());
  BOOST_REQUIRE(plan.batch_at(next) == plan.batches());
  BOOST_REQUIRE(plan.batch_at(-1) == -1);
  BOOST_REQUIRE(plan.batch_at(plan.samples() + 1) == -1);
  if (!in.drop_last) BOOST_REQUIRE(plan.samples() == in.samples);
}

}  // namespace

BOOST_AUTO_TEST_CASE(rules_hold_on_any_shape) {
  for (int64_t world = 1; world <= 4; ++world)
    for (int64_t accumulate = 1; accumulate <= 3; ++accumulate)
      for (const bool drop_last : {false, true})
        for (int64_t samples = 0; samples <= 60; ++samples)
          for (int64_t size = 1; size <= 7; ++size) {
            check_plan(input(samples, size, 0, world, accumulate, drop_last));
            check_plan(input(samples, 0, world * accumulate + size - 1, world, accumulate, drop_last));
          }
}

BOOST_AUTO_TEST_CASE(a_step_of_batch_size) {
  const BatchPlan plan(input(100, 8, 0, 3, 2));  // steps of 48, 48, 4
  BOOST_TEST(plan.step_samples() == 48);
  BOOST_TEST(plan.steps() == 3);
  BOOST_TEST(plan.batches() == 5);  // the rest needs one micro-batch
  BOOST_TEST(plan.range(3, 2).begin == 88);
  BOOST_TEST(plan.range(3, 2).end == 96);
  BOOST_TEST(plan.range(4, 0).size() == 2);  // 4 samples on 3 ranks: 2, 1, 1
  BOOST_TEST(plan.range(4, 1).size() == 1);
  BOOST_TEST(plan.range(4, 2).size() == 1);
  BOOST_TEST(BatchPlan(input(96 + 30, 8, 0, 3, 2)).batches() == 6);  // 30 > 24: two micro-batches of 15
  BOOST_TEST(BatchPlan(input(96 + 30, 8, 0, 3, 2)).global_range(5).size() == 15);
}

BOOST_AUTO_TEST_CASE(ranks_at_the_end_may_be_empty) {
  const BatchPlan plan(input(2, 8, 0, 4, 1));
  BOOST_TEST(plan.batches() == 1);
  BOOST_TEST(plan.range(0, 1).size() == 1);
  BOOST_TEST(plan.range(0, 2).empty());
  BOOST_TEST(plan.range(0, 3).empty());
}

BOOST_AUTO_TEST_CASE(a_step_of_global_batch_size_is_the_same_on_any_number_of_ranks) {
  for (const int64_t samples : {640, 650, 1000})
    for (int64_t world = 1; world <= 4; ++world)
      for (int64_t accumulate = 1; accumulate <= 5; ++accumulate) {
        const BatchPlan plan(input(samples, 0, 64, world, accumulate));
        BOOST_REQUIRE(plan.steps() == (samples + 63) / 64);
        for (int64_t step = 0; step < plan.steps(); ++step) {
          const auto first = plan.global_range(step * accumulate);
          const auto last = plan.global_range(std::min((step + 1) * accumulate, plan.batches()) - 1);
          BOOST_REQUIRE(first.begin == step * 64);
          BOOST_REQUIRE(last.end == std::min<int64_t>(step * 64 + 64, samples));
        }
      }
  const BatchPlan uneven(input(64, 0, 64, 3, 1));
  BOOST_TEST(uneven.range(0, 0).size() == 22);
  BOOST_TEST(uneven.range(0, 1).size() == 21);
  BOOST_TEST(uneven.range(0, 2).size() == 21);
}

BOOST_AUTO_TEST_CASE(drop_last) {
  BOOST_TEST(BatchPlan(input(100, 8, 0, 3, 2, true)).samples() == 96);
  BOOST_TEST(BatchPlan(input(130, 8, 0, 3, 2, true)).samples() == 120);  // a short last step of one whole micro-batch stays
  BOOST_TEST(BatchPlan(input(130, 8, 0, 3, 2, true)).batches() == 5);
  BOOST_TEST(BatchPlan(input(130, 0, 48, 3, 2, true)).samples() == 96);
  BOOST_TEST(BatchPlan(input(10, 8, 0, 3, 2, true)).batches() == 0);
}

BOOST_AUTO_TEST_CASE(bad_input) {
  check_throws<ConfigError>([] { BatchPlan(input(100, 0, 7, 4, 2)); },
                            {"global_batch_size is 7", "8 parts", "4 ranks", "accumulate_grad_batches 2"});
  check_throws<ConfigError>([] { BatchPlan(input(100, 8, 16, 1, 1)); }, {"batch_size is 8", "global_batch_size is 16"});
  check_throws<ConfigError>([] { BatchPlan(input(100, 0, 0, 1, 1)); }, {"neither"});
  check_throws<ConfigError>([] { BatchPlan(input(100, -1, 0, 1, 1)); }, {"batch_size is -1"});
  check_throws<ConfigError>([] { BatchPlan(input(100, 8, 0, 1, 0)); }, {"accumulate_grad_batches is 0"});
  check_throws<ConfigError>([] { BatchPlan(input(100, int64_t{1} << 62, 0, 4, 1)); }, {"exceeds 64 bits"});
  check_throws<ConfigError>([] { BatchPlan(input(100, 0, 8, 4, int64_t{1} << 62)); }, {"exceeds 64 bits"});
}

BOOST_AUTO_TEST_SUITE_END()
