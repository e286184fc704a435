#include "levin/core/text.h"

#include "../../src/core/lines.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_text)

BOOST_AUTO_TEST_CASE(lines_of) {
  using levin::detail::lines_of;
  using Lines = std::vector<std::string>;
  BOOST_TEST((lines_of("") == Lines{}));
  BOOST_TEST((lines_of("a\n\nb\n") == Lines{"a", "", "b"}));
  BOOST_TEST((lines_of("a\nb") == Lines{"a", "b"}));  // without a last newline
}

BOOST_AUTO_TEST_CASE(nearest_name) {
  BOOST_TEST(levin::nearest_name("max_epoch", {"max_steps", "max_epochs"}) == "max_epochs");
  BOOST_TEST(levin::nearest_name("MAX_EPOCH", {"max_epochs"}) == "max_epochs");
  BOOST_TEST(levin::nearest_name("zebra", {"max_epochs", "lr"}) == "");
}

BOOST_AUTO_TEST_CASE(shown_is_short_and_printable) {
  BOOST_TEST(levin::quote("a\nb\x1b") == "\"a?b?\"");
  BOOST_TEST(levin::quote(std::string(79, 'a') + "é").size() == 79u + 5u);
}

BOOST_AUTO_TEST_CASE(unqualified) {
  BOOST_TEST(levin::unqualified("torch::nn::Linear") == "Linear");
  BOOST_TEST(levin::unqualified("Linear") == "Linear");
}

BOOST_AUTO_TEST_CASE(bad_bytes) {
  BOOST_TEST(levin::first_bad_byte("a\t\n\xc3\xa9\xf0\x9f\x98\x80") == std::string::npos);
  for (const auto* text : {"ab\x01", "ab\x7f", "ab\xff", "ab\xc0\xaf", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82", "ab\x80"})
    BOOST_TEST(levin::first_bad_byte(text) == 2u);
  BOOST_TEST(levin::sanitized("a\nb\xff\xc3\xa9") == "a?b?\xc3\xa9");
}

BOOST_AUTO_TEST_SUITE_END()
