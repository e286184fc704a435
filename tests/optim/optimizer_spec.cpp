#include "levin/optim/optimizer_spec.h"

#include "levin_test.h"

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
  BOOST_TEST((options("body.weight") == levin::SegmentOptions{0.5, 0.1}));
  BOOST_TEST((options("body.bias") == levin::SegmentOptions{0.5, 0}));
  BOOST_TEST((options("head.bias") == levin::SegmentOptions{0.5, 0}));
  BOOST_TEST((options("head.weight") == levin::SegmentOptions{2, 0.1}));
}

BOOST_AUTO_TEST_SUITE_END()
