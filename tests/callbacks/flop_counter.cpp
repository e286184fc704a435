#include "../../src/callbacks/flop_counter.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/conv1d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <fmt/format.h>

#include <thread>

#include "reference_toy.h"

using namespace levin::test;
using levin::Tensor;
using levin::detail::FlopCounter;

BOOST_AUTO_TEST_SUITE(callbacks_flop_counter)

namespace {

using Shapes = std::vector<std::vector<int64_t>>;
using Inputs = std::vector<Tensor>;

// Forward and backward.
void check_case(const std::string& name, const Shapes& shapes, const std::function<Tensor(const Inputs&)>& compute) {
  Inputs inputs;
  for (const auto& shape : shapes) inputs.push_back(at::full(shape, 0.1).requires_grad_(true));
  const FlopCounter counter;
  compute(inputs).sum().backward();
  BOOST_TEST(static_cast<double>(counter.flops()) == recorded(name, "flops.txt").at(0), name << ": " << counter.flops());
}

}  // namespace

// The cases of record_flops.py.
BOOST_AUTO_TEST_CASE(it_counts_as_torch_does) {
  check_case("linear", {{5, 7, 4}, {6, 4}, {6}}, [](const Inputs& in) { return at::linear(in[0], in[1], in[2]); });
  check_case("linear_no_bias", {{5, 7, 4}, {6, 4}}, [](const Inputs& in) { return at::linear(in[0], in[1]); });
  check_case("linear_first_layer", {{5, 4}, {6, 4}, {6}}, [](const Inputs& in) { return at::linear(in[0].detach(), in[1], in[2]); });
  check_case("matmul", {{3, 5, 7}, {3, 7, 2}}, [](const Inputs& in) { return at::matmul(in[0], in[1]); });
  check_case("baddbmm", {{3, 5, 2}, {3, 5, 7}, {3, 7, 2}}, [](const Inputs& in) { return at::baddbmm(in[0], in[1], in[2]); });
  check_case("elementwise", {{3, 5}, {3, 5}}, [](const Inputs& in) { return (in[0] * in[1] + in[0]).exp().sum(0); });
  check_case("conv1d", {{2, 3, 17}, {4, 3, 5}}, [](const Inputs& in) { return at::conv1d(in[0], in[1], {}, 2); });
  check_case("conv2d", {{2, 3, 16, 15}, {6, 3, 3, 5}, {6}}, [](const Inputs& in) {
    return at::conv2d(in[0], in[1], in[2], 2, at::IntArrayRef{1, 2}, 2);
  });
  check_case("conv2d_first_layer", {{2, 3, 8, 9}, {6, 3, 3, 3}}, [](const Inputs& in) { return at::conv2d(in[0].detach(), in[1]); });
  check_case("conv2d_grouped", {{2, 4, 8, 9}, {6, 2, 3, 3}},
             [](const Inputs& in) { return at::conv2d(in[0], in[1], {}, 1, at::IntArrayRef{0}, 1, 2); });
  check_case("conv3d", {{2, 3, 5, 6, 7}, {4, 3, 2, 3, 3}}, [](const Inputs& in) { return at::conv3d(in[0], in[1]); });
  check_case("conv_transpose2d", {{2, 3, 5, 6}, {3, 4, 3, 3}},
             [](const Inputs& in) { return at::conv_transpose2d(in[0], in[1], {}, 2, 0, 1); });
  const auto attention = [](const Inputs& in) { return at::scaled_dot_product_attention(in[0], in[1], in[2]); };
  check_case("attention", {{2, 3, 5, 8}, {2, 3, 7, 8}, {2, 3, 7, 8}}, attention);
  check_case("attention_causal", {{2, 3, 5, 8}, {2, 3, 5, 8}, {2, 3, 5, 8}},
             [](const Inputs& in) { return at::scaled_dot_product_attention(in[0], in[1], in[2], {}, 0, /*is_causal=*/true); });
  check_case("attention_not_fused", {{2, 3, 5, 8}, {2, 3, 7, 8}, {2, 3, 7, 4}}, attention);
  check_case("cnn", {{4, 1, 8, 8}, {6, 1, 3, 3}, {6}, {10, 96}, {10}}, [](const Inputs& in) {
    const Tensor hidden = at::relu(at::conv2d(in[0].detach(), in[1], in[2], 1, 1));
    return at::linear(at::max_pool2d(hidden, 2).flatten(1), in[3], in[4]);
  });
}

// Those of other devices do not run here; their arguments are where the formulas read them.
BOOST_AUTO_TEST_CASE(attention_of_every_device_has_its_arguments_in_one_order) {
  const std::vector<std::string> gradients{"grad_out", "grad_out_"}, rest{"query", "key", "value"};
  for (const auto* kind : {"flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu"})
    for (const bool backward : {false, true}) {
      const auto name = fmt::format("aten::_scaled_dot_product_{}{}", kind, backward ? "_backward" : "");
      const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
      BOOST_REQUIRE_MESSAGE(found, name);
      const auto& arguments = found->schema().arguments();
      if (backward) BOOST_TEST((arguments[0].name() == gradients[0] || arguments[0].name() == gradients[1]), name);
      for (size_t i = 0; i < rest.size(); i++) BOOST_TEST(arguments[i + (backward ? 1 : 0)].name() == rest[i], name);
    }
}

BOOST_AUTO_TEST_CASE(other_threads_and_other_times_do_not_count) {
  const auto multiply = [] { at::mm(at::ones({2, 3}), at::ones({3, 5})); };
  multiply();
  const FlopCounter counter;
  std::thread(multiply).join();
  BOOST_TEST(counter.flops() == 0);
  multiply();
  BOOST_TEST(counter.flops() == 60);
}

BOOST_AUTO_TEST_SUITE_END()
