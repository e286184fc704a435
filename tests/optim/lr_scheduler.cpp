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

BOOST_AUTO_TEST_CASE(multi_step_falls_at_milestones) {
  const levin::MultiStepLR schedule{.milestones = {2, 3}, .gamma = 0.5};
  const std::vector<double> expected{8, 8, 4, 2, 2};
  for (int64_t epoch = 0; epoch < 5; epoch++)
    BOOST_TEST(scheduled_lr(schedule, 8, {.step = 100, .epoch = epoch}) == expected[static_cast<size_t>(epoch)]);
}

BOOST_AUTO_TEST_CASE(exponential_falls_every_epoch) {
  BOOST_TEST(scheduled_lr(levin::ExponentialLR{.gamma = 0.5}, 8, {.step = 100, .epoch = 0}) == 8);
  BOOST_TEST(scheduled_lr(levin::ExponentialLR{.gamma = 0.5}, 8, {.step = 100, .epoch = 3}) == 1);
}

BOOST_AUTO_TEST_CASE(polynomial_ends_at_zero) {
  const auto lr = [](int64_t step) { return scheduled_lr(levin::PolynomialLR{.power = 2}, 8, {.step = step, .total_steps = 4}); };
  BOOST_TEST(lr(0) == 8);
  BOOST_TEST(lr(2) == 2);
  BOOST_TEST(lr(4) == 0);
  BOOST_TEST(lr(9) == 0);
  BOOST_TEST(scheduled_lr(levin::PolynomialLR{.total_iters = 2}, 8, {.step = 1, .total_steps = 100}) == 4);
}

// What torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=10) gives in PyTorch 2.11.
BOOST_AUTO_TEST_CASE(one_cycle_as_pytorch, *boost::unit_test::tolerance(1e-9)) {
  const std::vector<double> expected{
      0.0040000000000000036, 0.052000000000000005, 0.1,  0.09504846320134738, 0.0811745653949763, 0.06112620219362893, 0.03887419780637107,
      0.0188258346050237,    0.004951936798652629, 4e-07};
  for (int64_t step = 0; step < 10; step++)
    BOOST_TEST(scheduled_lr(levin::OneCycleLR{}, 0.1, {.step = step, .total_steps = 10}) == expected[static_cast<size_t>(step)]);
}

BOOST_AUTO_TEST_CASE(a_missing_length_is_an_error) {
  using levin::test::check_throws, levin::ConfigError;
  check_throws<ConfigError>([] { scheduled_lr(levin::CosineAnnealingLR{}, 1, Progress{}); }, {"cosine", "T_max", "max_steps"});
  check_throws<ConfigError>([] { scheduled_lr(levin::PolynomialLR{}, 1, Progress{}); }, {"polynomial", "total_iters", "max_steps"});
  check_throws<ConfigError>([] { scheduled_lr(levin::OneCycleLR{}, 1, Progress{}); }, {"one_cycle", "total_steps", "max_steps"});
}

BOOST_AUTO_TEST_SUITE_END()
