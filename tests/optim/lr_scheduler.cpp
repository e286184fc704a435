#include "levin/optim/lr_scheduler.h"

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Progress;
using levin::scheduled_lr;

BOOST_AUTO_TEST_SUITE(optim_lr_scheduler, *boost::unit_test::tolerance(1e-12))

BOOST_AUTO_TEST_CASE(constant_with_warmup) {
  const levin::ConstantLR schedule{.warmup = {.warmup = 3, .warmup_start_factor = 0.2}};
  BOOST_TEST(scheduled_lr(schedule, 1, {.step = 0}) == 0.4);
  BOOST_TEST(scheduled_lr(schedule, 1, {.step = 2}) == 0.8);
  BOOST_TEST(scheduled_lr(schedule, 1, {.step = 3}) == 1.0);
  BOOST_TEST(scheduled_lr(levin::ConstantLR{}, 0.5, {.step = 0}) == 0.5);
}

BOOST_AUTO_TEST_CASE(cosine_ends_at_eta_min) {
  const levin::CosineAnnealingLR schedule{.eta_min = 0.1, .warmup = {.warmup = 10}};
  const auto lr = [&](int64_t step) { return scheduled_lr(schedule, 1.1, {.step = step, .total_steps = 110}); };
  BOOST_TEST(lr(10) == 1.1);
  BOOST_TEST(lr(60) == 0.6);
  BOOST_TEST(lr(110) == 0.1);
  BOOST_TEST(lr(500) == 0.1);
  BOOST_TEST(lr(9) < 1.1);
  BOOST_TEST(scheduled_lr(levin::CosineAnnealingLR{.T_max = 4, .interval = levin::Interval::epoch}, 2, {.step = 999, .epoch = 2}) == 1.0);
}

BOOST_AUTO_TEST_CASE(step_falls_by_gamma) {
  const levin::StepLR schedule{.step_size = 2, .gamma = 0.5};
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 100, .epoch = 1}) == 8);
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 100, .epoch = 2}) == 4);
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 100, .epoch = 5}) == 2);
}

BOOST_AUTO_TEST_CASE(cosine_without_a_length_is_an_error) {
  levin::test::check_throws<levin::ConfigError>([] { scheduled_lr(levin::CosineAnnealingLR{}, 1, Progress{}); }, {"T_max", "max_steps"});
}

BOOST_AUTO_TEST_SUITE_END()
