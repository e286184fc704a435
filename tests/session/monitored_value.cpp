#include "levin/session/monitored_value.h"

#include "levin_test.h"

using levin::find_monitored;
using levin::Interval;

BOOST_AUTO_TEST_SUITE(session_monitored_value)

// Lightning's names of a value that is logged by step and by epoch.
BOOST_AUTO_TEST_CASE(a_value_logged_by_step_and_epoch_has_three_names) {
  const levin::NamedValues values{{"loss_step", 1}, {"loss_epoch", 2}, {"acc_epoch/dataloader_idx_1", 3}, {"lr", 4}, {"lr_epoch", 5}};
  const auto found = [&](const char* name, Interval preferred) {
    const double* value = find_monitored(values, name, preferred);
    return value ? *value : -1;
  };
  BOOST_TEST(found("loss", Interval::epoch) == 2);
  BOOST_TEST(found("loss", Interval::step) == 1);
  BOOST_TEST(found("loss_step", Interval::epoch) == 1);
  BOOST_TEST(found("acc/dataloader_idx_1", Interval::step) == 3);
  BOOST_TEST(found("acc/dataloader_idx_0", Interval::step) == -1);
  BOOST_TEST(found("lr", Interval::epoch) == 4);  // the very name comes first
  BOOST_TEST(found("los", Interval::epoch) == -1);
}

BOOST_AUTO_TEST_SUITE_END()
