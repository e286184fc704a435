#include "levin/optim/reduce_lr_on_plateau.h"

#include <cmath>

#include "levin/optim/lr_scheduler.h"
#include "levin_test.h"

using levin::ReduceLROnPlateau;

BOOST_AUTO_TEST_SUITE(optim_reduce_lr_on_plateau)

namespace {

// The learning rate before each look.
std::vector<double> rates(const ReduceLROnPlateau& schedule, const std::vector<double>& values) {
  levin::PlateauState state;
  std::vector<double> rates;
  for (double value : values) {
    rates.push_back(levin::scheduled_lr(schedule, 0.8, {}, state));
    state = observe(schedule, state, value);
  }
  return rates;
}

void check_equal(const std::vector<double>& rates, const std::vector<double>& expected) {
  BOOST_REQUIRE(rates.size() == expected.size());
  for (size_t i = 0; i < rates.size(); i++) BOOST_TEST(rates[i] == expected[i], boost::test_tools::tolerance(1e-12));
}

}  // namespace

// Expected is what PyTorch 2.11 gives: ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2, min_lr=0.15).
BOOST_AUTO_TEST_CASE(falls_as_pytorchs) {
  check_equal(rates({.factor = 0.5, .patience = 1, .cooldown = 2, .min_lr = 0.15},
                    {1.0, 0.9, 0.95, 0.94, 0.96, 0.99, 0.99, 0.5, 0.51, 0.52, 0.53, 0.499999, 0.6, 0.7, 0.8, 0.9}),
              {0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.15, 0.15});
}

// ReduceLROnPlateau(mode='max', factor=0.1, patience=0, threshold=0.1, threshold_mode='abs').
BOOST_AUTO_TEST_CASE(maximum_and_absolute_threshold_as_pytorchs) {
  check_equal(
      rates({.mode = levin::MonitorMode::max, .factor = 0.1, .patience = 0, .threshold = 0.1, .threshold_mode = levin::ThresholdMode::abs},
            {0.1, 0.25, 0.3, 0.36, std::nan(""), 0.5, 0.55, 0.61}),
      {0.8, 0.8, 0.8, 0.08, 0.08, 0.008, 0.008, 0.0008});
}

BOOST_AUTO_TEST_CASE(nan_is_never_the_best) {
  const auto nan = std::nan("");
  check_equal(rates({.factor = 0.5, .patience = 1}, {nan, nan, nan, 7, 6, 5}), {0.8, 0.8, 0.4, 0.4, 0.4, 0.4});
}

BOOST_AUTO_TEST_CASE(falls_end_at_the_least_rate) {
  BOOST_TEST(levin::reduced_lr({.factor = 0.1, .min_lr = 0.05}, 0.8, 1000) == 0.05);
  BOOST_TEST(levin::reduced_lr({.factor = 0.1, .min_lr = 0.5}, 0.1, 3) == 0.1);  // it never rises
}

BOOST_AUTO_TEST_SUITE_END()
