#include "levin/optim/optimizer_spec.h"

#include <torch/optim/optimizer.h>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(optim_optimizer_spec)

BOOST_AUTO_TEST_CASE(patterns) {
  BOOST_TEST(levin::matches("*.bias", "net.0.bias"));
  BOOST_TEST(!levin::matches("*.bias", "bias"));
  BOOST_TEST(levin::matches("layer?.*", "layer1.weight"));
  BOOST_TEST(!levin::matches("layer?.*", "layer12.weight"));
  BOOST_TEST(levin::matches("*a*b*", "xxaxxbxx"));
  BOOST_TEST(levin::matches("**", ""));
  BOOST_TEST(!levin::matches("", "x"));
}

BOOST_AUTO_TEST_CASE(first_rule_that_matches_counts) {
  levin::OptimizerSpec spec = levin::AdamW{.lr = 0.5, .weight_decay = 0.1};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}, {.pattern = "head.*", .lr = 2}};
  const auto options = [&](const char* name) { return levin::options_for(spec, name); };
  BOOST_TEST((options("body.weight") == levin::ParameterGroupOptions{0.5, 0.1}));
  BOOST_TEST((options("body.bias") == levin::ParameterGroupOptions{0.5, 0}));
  BOOST_TEST((options("head.bias") == levin::ParameterGroupOptions{0.5, 0}));
  BOOST_TEST((options("head.weight") == levin::ParameterGroupOptions{2, 0.1}));
}

BOOST_AUTO_TEST_CASE(patterns_must_match) {
  const std::vector<std::string> names{"body.weight", "body.bias"};
  levin::OptimizerSpec spec = levin::AdamW{};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}, {.pattern = "*", .lr = 1}, {.pattern = "body.*", .lr = 2}};
  levin::check_patterns({spec}, names);
  spec.rules.push_back({.pattern = "bias", .lr = 2});
  check_throws<levin::ConfigError>([&] { levin::check_patterns({spec}, names); }, {"rule", "\"bias\"", "body.weight, body.bias"});
  levin::OptimizerSpec part = levin::SGD{};
  part.parameters = {"body.*", "head.*"};
  check_throws<levin::ConfigError>([&] { levin::check_patterns({part}, names); }, {"optimizer trains", "\"head.*\""});
}

BOOST_AUTO_TEST_CASE(names_of_optimizers) {
  const levin::OptimizerSpec adamw = levin::AdamW{};
  levin::OptimizerSpec named = levin::SGD{};
  named.name = "critic";
  const auto custom_spec = levin::custom([](std::vector<levin::Tensor>) { return nullptr; });
  BOOST_TEST(
      (levin::optimizer_names({adamw, named, adamw, custom_spec}) == std::vector<std::string>{"adamw", "critic", "adamw-1", "custom"}));
  check_throws<levin::UsageError>([&] { levin::optimizer_names({named, named}); }, {"\"critic\""});
}

BOOST_AUTO_TEST_CASE(a_parameter_has_one_optimizer) {
  levin::OptimizerSpec critic = levin::SGD{}, rest = levin::SGD{};
  critic.name = "critic", critic.parameters = {"critic.*", "head.weight"};
  rest.name = "rest", rest.parameters = {"generator.*", "head.*"};
  BOOST_TEST(levin::optimizer_of({critic, rest}, "critic.bias") == 0u);
  BOOST_TEST(levin::optimizer_of({critic, rest}, "head.bias") == 1u);
  check_throws<levin::UsageError>([&] { levin::optimizer_of({critic, rest}, "head.weight"); }, {"head.weight", "\"critic\"", "\"rest\""});
  check_throws<levin::UsageError>([&] { levin::optimizer_of({critic, rest}, "tail"); }, {"no optimizer trains \"tail\"", "critic, rest"});
}

BOOST_AUTO_TEST_SUITE_END()
