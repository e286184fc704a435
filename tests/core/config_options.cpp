#include "levin/core/config_options.h"

#include <fmt/core.h>

#include "levin/core/config.h"
#include "levin_test.h"

namespace options_test {

struct Plain {};
LEVIN_CONFIG(Plain)
LEVIN_CHOICE(Plain, "plain")
struct Wide {
  int64_t width = 3;
};
LEVIN_CONFIG(Wide, (width, "how wide", at_least(1)))
LEVIN_CHOICE(Wide, "wide")
struct Inner {
  bool flag = true;
};
LEVIN_CONFIG(Inner, (flag, "a flag"))
struct Outer {
  Inner inner;
  Wide flat;
  std::optional<std::variant<Plain, Wide>> choice;
  std::optional<Inner> perhaps;
  std::map<std::string, double> map;
};
LEVIN_CONFIG(Outer, (inner, "a struct"), (flat, "another", flattened), (choice, "a choice"), (perhaps, "or not"), (map, "a map"))

}  // namespace options_test

BOOST_AUTO_TEST_SUITE(core_config_options)

BOOST_AUTO_TEST_CASE(every_option_is_listed) {
  options_test::Outer config;
  config.choice = options_test::Wide{7};
  const auto options = levin::list_options(levin::config_type<options_test::Outer>(), &config, "outer");
  std::vector<std::string> lines;
  for (const auto& option : options)
    lines.push_back(fmt::format("{}{} = {}{}", option.path, option.is_struct ? " (struct)" : "", option.value,
                                option.alternative.empty() ? "" : fmt::format(" of {} {}", option.choice, option.alternative)));
  const std::vector<std::string> expected{"outer.inner (struct) = ",
                                          "outer.inner.flag = true",
                                          "outer.width = 3",
                                          "outer.choice = wide",
                                          "outer.choice.width = 7 of outer.choice wide",
                                          "outer.perhaps (struct) = ",
                                          "outer.perhaps.flag = true",
                                          "outer.map = {}"};
  BOOST_TEST(lines == expected, boost::test_tools::per_element());
  BOOST_TEST(options[2].allowed == "integer, at least 1");
  BOOST_TEST(options[2].help == "how wide");
}

BOOST_AUTO_TEST_CASE(defaults_without_an_object) {
  const auto options = levin::list_options(levin::config_type<options_test::Outer>());
  BOOST_TEST(options[3].path == "choice");
  BOOST_TEST(options[3].value == "null");
  BOOST_TEST(options[4].value == "3");
}

BOOST_AUTO_TEST_SUITE_END()
