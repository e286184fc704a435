#include "levin/core/error.h"

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_error)

BOOST_AUTO_TEST_CASE(message_has_tag_what_and_remedy) {
  const levin::ConfigError error("max_epochs is -3, must be at least 0", "give a larger value");
  BOOST_TEST(error.what() == "[config] max_epochs is -3, must be at least 0; give a larger value");
  BOOST_TEST(static_cast<int>(error.exit_code()) == 78);
  BOOST_TEST(levin::DataError("gone").what() == "[data] gone");
}

BOOST_AUTO_TEST_SUITE_END()
