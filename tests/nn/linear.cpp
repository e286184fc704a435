#include "levin/nn/linear.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <torch/csrc/autograd/function.h>
#include <torch/nn/modules/linear.h>

#include <set>
#include <sstream>
#include <string>

#include "levin_test.h"

using levin::Tensor;

BOOST_AUTO_TEST_SUITE(nn_linear)

namespace {

// The operations of a graph, by name.
std::multiset<std::string> operations(const Tensor& output) {
  std::multiset<std::string> names;
  std::set<const torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open{output.grad_fn().get()};
  while (!open.empty()) {
    auto* node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    names.insert(node->name());
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return names;
}

}  // namespace

BOOST_AUTO_TEST_CASE(is_torchs_linear_in_one_pass) {
  for (const bool bias : {true, false}) {
    const auto options = torch::nn::LinearOptions(6, 4).bias(bias);
    at::manual_seed(3);
    levin::Linear ours(options);
    at::manual_seed(3);
    torch::nn::Linear theirs(options);
    BOOST_TEST(at::equal(ours->weight, theirs->weight));
    const auto names = ours->named_parameters(), expected = theirs->named_parameters();
    BOOST_TEST(names.keys() == expected.keys(), boost::test_tools::per_element());
    for (const auto& shape : std::vector<std::vector<int64_t>>{{5, 6}, {2, 3, 6}, {6}}) {
      const Tensor x = at::randn(shape);
      const Tensor y = ours(x), reference = theirs(x);
      BOOST_TEST(at::allclose(y, reference, 1e-5, 1e-6));
      ours->zero_grad(), theirs->zero_grad();
      y.square().sum().backward(), reference.square().sum().backward();
      for (const auto& item : ours->named_parameters())
        BOOST_TEST(at::allclose(item.value().grad(), expected[item.key()].grad(), 1e-4, 1e-5));
    }
    if (!bias) continue;
    BOOST_TEST(at::equal(ours->bias, theirs->bias));
    const Tensor x = at::randn({2, 3, 6});
    BOOST_TEST(operations(theirs(x)).count("AddBackward0") == 1u);
    BOOST_TEST(operations(ours(x)).count("AddBackward0") == 0u);
  }
}

BOOST_AUTO_TEST_CASE(clones_and_prints) {
  levin::Linear linear(3, 2);
  const auto copy = std::dynamic_pointer_cast<levin::LinearImpl>(linear->clone());
  BOOST_REQUIRE(copy);
  BOOST_TEST(at::equal(copy->weight, linear->weight));
  BOOST_TEST(!copy->weight.is_same(linear->weight));
  std::ostringstream text;
  text << linear;
  BOOST_TEST(text.str() == "levin::Linear(in_features=3, out_features=2, bias=true)");
}

BOOST_AUTO_TEST_SUITE_END()
