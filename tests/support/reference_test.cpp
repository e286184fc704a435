// A plain LibTorch loop has PyTorch's results: so the references can be trusted, and Levin's own loops compared with them.
#include "reference.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>

#include <cmath>
#include <map>

#include "levin_test.h"

using levin::Tensor;
namespace reference = levin::test::reference;

BOOST_AUTO_TEST_SUITE(support_reference)

namespace {

Tensor cnn(std::map<std::string, Tensor>& w, const Tensor& images) {
  auto x = at::max_pool2d(at::relu(at::conv2d(images, w["conv1.weight"], w["conv1.bias"])), 2);
  x = at::max_pool2d(at::relu(at::conv2d(x, w["conv2.weight"], w["conv2.bias"])), 2);
  return at::linear(x.flatten(1), w["fc.weight"], w["fc.bias"]);
}

/// Trains the case "cnn_sgd", calling see(batch, loss, weights) after each backward.
template <class See>
std::map<std::string, Tensor> train(at::ScalarType dtype, int64_t batches, See&& see) {
  std::map<std::string, Tensor> w, momentum;
  for (auto& [name, weight] : reference::weights("cnn", dtype)) w[name] = weight.requires_grad_();
  const auto images = reference::images(0, reference::samples, dtype);
  const auto labels = reference::labels(0, reference::samples);
  for (int64_t batch = 0; batch < batches; ++batch) {
    const int64_t first = batch % reference::batches_per_epoch * reference::batch_size;
    auto loss =
        at::cross_entropy_loss(cnn(w, images.narrow(0, first, reference::batch_size)), labels.narrow(0, first, reference::batch_size));
    loss.backward();
    see(batch, loss.item<double>(), w);
    for (auto& [name, weight] : w) {
      auto& moved = momentum[name];
      moved = moved.defined() ? moved.mul(0.9).add(weight.grad()) : weight.grad().clone();
      weight.mutable_grad().reset();
      weight = weight.detach().sub(moved.mul(0.05)).requires_grad_();
    }
  }
  return w;
}

}  // namespace

BOOST_AUTO_TEST_CASE(plain_loop_in_double_has_pytorchs_losses_and_weights) {
  const auto recorded = reference::record("cnn_sgd");
  BOOST_REQUIRE_EQUAL(recorded.losses64.size(), 100);
  double most = 0;
  const auto end = train(
      at::kDouble, 100, [&](int64_t batch, double loss, const auto&) { most = std::max(most, std::abs(loss - recorded.losses64[batch])); });
  BOOST_CHECK_LT(most, 1e-11);
  BOOST_REQUIRE_EQUAL(recorded.weights64.size(), 6);
  for (const auto& weight : recorded.weights64) BOOST_CHECK_MESSAGE(reference::distance(end.at(weight.name), weight) < 1e-11, weight.name);
}

BOOST_AUTO_TEST_CASE(plain_loop_in_float_has_pytorchs_gradients_and_first_losses) {
  const auto recorded = reference::record("cnn_sgd");
  BOOST_REQUIRE_EQUAL(recorded.losses32.size(), 10);
  BOOST_REQUIRE_EQUAL(recorded.gradients32.size(), 6);
  train(at::kFloat, 10, [&](int64_t batch, double loss, const auto& w) {
    BOOST_CHECK_SMALL(loss - recorded.losses32[batch], 1e-5);
    if (batch > 0) return;
    for (const auto& gradient : recorded.gradients32)
      BOOST_CHECK_MESSAGE(reference::distance(w.at(gradient.name).grad(), gradient) < 1e-5, gradient.name);
  });
}

BOOST_AUTO_TEST_SUITE_END()
