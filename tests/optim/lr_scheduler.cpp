#include "levin/optim/lr_scheduler.h"

#include "levin/cli/yaml_reader.h"
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

BOOST_AUTO_TEST_CASE(frequency_counts_several_as_one) {
  const levin::ExponentialLR schedule{.gamma = 0.5, .interval = levin::Interval::step, .frequency = 3};
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 2}) == 8);
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 3}) == 4);
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 8}) == 2);
  const levin::PolynomialLR rest{.interval = levin::Interval::epoch, .frequency = 2};
  BOOST_TEST(scheduled_lr(rest, 8, {.epoch = 3, .total_epochs = 8}) == 6);
}

// What SequentialLR of ConstantLR(factor=1), ExponentialLR(gamma=0.5) and CosineAnnealingLR(T_max=4, eta_min=0.1), with milestones 2
// and 5, gives in PyTorch 2.11.
BOOST_AUTO_TEST_CASE(a_sequence_as_pytorch) {
  using levin::Interval;
  const std::vector<double> expected{0.8, 0.8, 0.8, 0.4, 0.2, 0.8, 0.6974873734152917, 0.45000000000000007, 0.20251262658470842};
  const levin::SequentialLR schedule{.schedulers = {levin::ConstantLR{}, levin::ExponentialLR{.gamma = 0.5, .interval = Interval::step},
                                                    levin::CosineAnnealingLR{.eta_min = 0.1}},
                                     .milestones = {2, 5}};
  for (int64_t step = 0; step < 9; step++)  // the cosine's length is the rest of the training: 4 steps
    BOOST_TEST(scheduled_lr(schedule, 0.8, {.step = step, .total_steps = 9}) == expected[static_cast<size_t>(step)]);
}

BOOST_AUTO_TEST_CASE(a_schedule_without_length_ends_where_the_next_begins) {
  const levin::SequentialLR schedule{.schedulers = {levin::PolynomialLR{}, levin::ConstantLR{}}, .milestones = {4}};
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 3, .total_steps = 100}) == 2);
  BOOST_TEST(scheduled_lr(schedule, 8, {.step = 4, .total_steps = 100}) == 8);
}

BOOST_AUTO_TEST_CASE(a_sequence_from_yaml) {
  levin::LrSchedulerConfig config;
  const auto& type = levin::config_type<levin::LrSchedulerConfig>();
  type.read(&config,
            levin::parse_yaml("{name: sequential, milestones: [10], schedulers: [{name: constant, warmup: 5}, {name: step, step_size: 3, "
                              "interval: step}]}",
                              "test"),
            {});
  const auto& sequence = std::get<levin::SequentialLR>(config);
  BOOST_TEST(std::get<levin::ConstantLR>(sequence.schedulers[0]).warmup.warmup == 5);
  BOOST_TEST(std::get<levin::StepLR>(sequence.schedulers[1]).step_size == 3);
  levin::LrSchedulerConfig again;
  type.read(&again, type.write(&config), {});
  BOOST_TEST(scheduled_lr(again, 8, {.step = 13}) == 0.8);
}

BOOST_AUTO_TEST_CASE(a_sequence_that_does_not_fit_is_an_error) {
  using levin::test::check_throws, levin::ConfigError;
  const auto refused = [](const levin::SequentialLR& schedule, const std::vector<std::string>& parts) {
    check_throws<ConfigError>([&] { levin::check_config(schedule); }, parts);
  };
  refused({}, {"0 schedules with 0 milestones"});
  refused({.schedulers = {levin::ConstantLR{}, levin::ConstantLR{}}, .milestones = {1, 2}}, {"2 schedules with 2 milestones"});
  refused({.schedulers = {levin::ConstantLR{}, levin::ConstantLR{}, levin::ConstantLR{}}, .milestones = {2, 2}},
          {"milestone 2", "increasing"});
  refused({.schedulers = {levin::ConstantLR{}, levin::ExponentialLR{}}, .milestones = {2}},
          {"every 1 step(s)", "schedulers[1] every 1 epoch(s)"});
}

BOOST_AUTO_TEST_CASE(a_missing_length_is_an_error) {
  using levin::test::check_throws, levin::ConfigError;
  check_throws<ConfigError>([] { scheduled_lr(levin::CosineAnnealingLR{}, 1, Progress{}); }, {"cosine", "T_max", "max_steps"});
  check_throws<ConfigError>([] { scheduled_lr(levin::PolynomialLR{}, 1, Progress{}); }, {"polynomial", "total_iters", "max_steps"});
  check_throws<ConfigError>([] { scheduled_lr(levin::OneCycleLR{}, 1, Progress{}); }, {"one_cycle", "total_steps", "max_steps"});
  // At once, not after the warm-up or the milestone before it is needed.
  check_throws<ConfigError>([] { scheduled_lr(levin::CosineAnnealingLR{.warmup = {.warmup = 10}}, 1, Progress{}); }, {"cosine", "T_max"});
  const levin::SequentialLR sequence{.schedulers = {levin::PolynomialLR{}, levin::CosineAnnealingLR{}}, .milestones = {10}};
  check_throws<ConfigError>([&] { scheduled_lr(sequence, 1, Progress{}); }, {"cosine", "T_max"});
}

BOOST_AUTO_TEST_CASE(a_training_may_end_in_the_warm_up) {
  const levin::CosineAnnealingLR schedule{.warmup = {.warmup = 10}};
  BOOST_TEST(scheduled_lr(schedule, 1.1, {.step = 4, .total_steps = 5}) == 0.5);
  BOOST_TEST(scheduled_lr(schedule, 1.1, {.step = 10, .total_steps = 10}) == 1.1);
  const levin::SequentialLR sequence{.schedulers = {levin::ConstantLR{}, levin::PolynomialLR{}}, .milestones = {10}};
  BOOST_TEST(scheduled_lr(sequence, 2, {.step = 10, .total_steps = 10}) == 2);
}

BOOST_AUTO_TEST_SUITE_END()
