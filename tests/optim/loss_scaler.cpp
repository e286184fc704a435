#include "levin/optim/loss_scaler.h"

#include "levin/core/error.h"
#include "levin_test.h"

using levin::LossScaler;

BOOST_AUTO_TEST_SUITE(optim_loss_scaler)

BOOST_AUTO_TEST_CASE(begins_with_the_values_of_pytorch) {
  LossScaler scaler({});
  BOOST_TEST(scaler.scale() == 65536);
  for (int step = 0; step < 1999; step++) scaler.update(false);
  BOOST_TEST(scaler.scale() == 65536);
  scaler.update(false);
  BOOST_TEST(scaler.scale() == 131072);
  scaler.update(true);
  BOOST_TEST(scaler.scale() == 65536);
}

BOOST_AUTO_TEST_CASE(an_overflow_starts_the_count_again) {
  LossScaler scaler({.init_scale = 100, .growth_factor = 3, .backoff_factor = 0.25, .growth_interval = 3});
  const bool overflows[] = {false, false, true, false, false, false, false, true, true, false};
  const double scales[] = {100, 100, 25, 25, 25, 75, 75, 18.75, 4.6875, 4.6875};
  for (size_t i = 0; i < std::size(scales); i++) {
    scaler.update(overflows[i]);
    BOOST_TEST(scaler.scale() == scales[i], "after step " << i << ": " << scaler.scale());
  }
  BOOST_TEST(scaler.state().good_steps == 1);
}

BOOST_AUTO_TEST_CASE(resumes_from_a_state) {
  const levin::LossScaling config{.init_scale = 8, .growth_interval = 2};
  LossScaler unbroken(config), resumed(config);
  for (bool overflow : {false, true, false}) unbroken.update(overflow);
  resumed.set_state(unbroken.state());
  for (bool overflow : {false, false, true, false}) {
    unbroken.update(overflow), resumed.update(overflow);
    BOOST_TEST((unbroken.state() == resumed.state()));
  }
}

BOOST_AUTO_TEST_CASE(never_grows_out_of_fp32) {
  LossScaler scaler({.init_scale = 0x1p127, .growth_interval = 1});
  scaler.update(false);
  BOOST_TEST(scaler.scale() == 0x1p127);
  BOOST_TEST(scaler.state().good_steps == 0);
}

BOOST_AUTO_TEST_CASE(bad_options) {
  levin::test::check_throws<levin::ConfigError>([] { LossScaler({.init_scale = 0}); }, {"init_scale", "too small"});
  levin::test::check_throws<levin::ConfigError>([] { LossScaler({.backoff_factor = 1}); }, {"backoff_factor", "too large"});
  levin::test::check_throws<levin::ConfigError>([] { LossScaler({.growth_factor = 1}); }, {"growth_factor", "too small"});
}

BOOST_AUTO_TEST_SUITE_END()
