#include "levin/optim/clip.h"

#include <ATen/ops/tensor.h>

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(optim_clip)

BOOST_AUTO_TEST_CASE(norm_and_value) {
  const auto gradient = at::tensor({3.0f, -4.0f});
  BOOST_TEST(levin::squared_norm(gradient) == 25.0, boost::test_tools::tolerance(1e-12));
  levin::clip_by_norm(gradient, 5, 10);
  BOOST_TEST(gradient[0].item<float>() == 3.0f);
  levin::clip_by_norm(gradient, 5, 1);
  BOOST_TEST(gradient[1].item<float>() == -0.8f, boost::test_tools::tolerance(1e-5f));
  levin::clip_by_value(gradient, 0.5);
  BOOST_TEST(gradient[0].item<float>() == 0.5f);
  BOOST_TEST(gradient[1].item<float>() == -0.5f);
}

BOOST_AUTO_TEST_SUITE_END()
