#include "levin/optim/clip.h"

#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(optim_clip)

namespace {

void clip_by_norm(const levin::Tensor& gradient, double total_norm, double max_norm) {
  levin::scale_slice(gradient, levin::clip_factor(at::scalar_tensor(total_norm, at::kDouble), max_norm));
}

}  // namespace

BOOST_AUTO_TEST_CASE(norm_and_value) {
  const auto gradient = at::tensor({3.0f, -4.0f});
  BOOST_TEST(levin::squared_norm(gradient) == 25.0, boost::test_tools::tolerance(1e-12));
  const auto squares = levin::squared_norm(std::vector<levin::Tensor>{gradient, gradient});
  BOOST_TEST(squares.item<double>() == 50.0, boost::test_tools::tolerance(1e-12));
  clip_by_norm(gradient, 5, 10);
  BOOST_TEST(gradient[0].item<float>() == 3.0f);
  clip_by_norm(gradient, std::numeric_limits<double>::quiet_NaN(), 1);
  BOOST_TEST(gradient[0].item<float>() == 3.0f);
  clip_by_norm(gradient, 5, 1);
  BOOST_TEST(gradient[1].item<float>() == -0.8f, boost::test_tools::tolerance(1e-5f));
  levin::clip_by_value(gradient, 0.5);
  BOOST_TEST(gradient[0].item<float>() == 0.5f);
  BOOST_TEST(gradient[1].item<float>() == -0.5f);
}

// Their sum is out of fp16's range, and beyond what bf16 can count to; and there are more of them than are squared at once.
BOOST_AUTO_TEST_CASE(norms_of_fp16_and_bf16_are_wide) {
  for (const auto dtype : {at::kHalf, at::kBFloat16, at::kFloat}) {
    BOOST_TEST(levin::squared_norm(at::full({600'001}, 2, dtype)) == 2'400'004.0, boost::test_tools::tolerance(1e-12));
    const auto gradient = at::full({2}, 4, dtype);
    clip_by_norm(gradient, 8, 4);
    BOOST_TEST(gradient[0].item<float>() == 2.f, boost::test_tools::tolerance(1e-6f));
    BOOST_TEST(std::isinf(levin::squared_norm(at::full({3}, std::numeric_limits<float>::infinity(), dtype))));
  }
}

BOOST_AUTO_TEST_SUITE_END()
