#include "levin/optim/optimizer.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Tensor;

namespace {

// Runs ours and LibTorch's side by side for some steps on the same gradients.
template <class Peer, class Options>
void compare(const levin::OptimizerConfig& config, Options options) {
  const auto start = at::randn({257}, at::kDouble);
  const Tensor ours = start.clone();
  Tensor theirs = start.clone().set_requires_grad(true);
  Peer peer(std::vector<Tensor>{theirs}, options);
  const auto optimizer = levin::FlatOptimizer::create(config);
  auto state = optimizer->make_state(ours);
  for (int step = 0; step < 20; step++) {
    const auto gradient = at::randn({257}, at::kDouble);
    theirs.mutable_grad() = gradient.clone();
    peer.step();
    optimizer->step(ours, gradient, state, levin::base_lr(config), levin::base_weight_decay(config));
    BOOST_TEST(at::allclose(ours, theirs.detach(), 1e-12, 1e-12));
  }
  BOOST_TEST(state.step.item<float>() == 20.f);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(optim_optimizer)

BOOST_AUTO_TEST_CASE(sgd_as_libtorch) {
  using torch::optim::SGDOptions;
  compare<torch::optim::SGD>(levin::SGD{.lr = 0.1}, SGDOptions(0.1));
  compare<torch::optim::SGD>(levin::SGD{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01},
                             SGDOptions(0.1).momentum(0.9).weight_decay(0.01));
  compare<torch::optim::SGD>(levin::SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.3}, SGDOptions(0.1).momentum(0.9).dampening(0.3));
  compare<torch::optim::SGD>(levin::SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true}, SGDOptions(0.1).momentum(0.9).nesterov(true));
}

BOOST_AUTO_TEST_CASE(adam_as_libtorch) {
  using torch::optim::AdamOptions;
  compare<torch::optim::Adam>(levin::Adam{.lr = 0.01}, AdamOptions(0.01));
  compare<torch::optim::Adam>(levin::Adam{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1},
                              AdamOptions(0.01).betas({0.8, 0.99}).eps(1e-6).weight_decay(0.1));
}

BOOST_AUTO_TEST_CASE(adamw_as_libtorch) {
  using torch::optim::AdamWOptions;
  compare<torch::optim::AdamW>(levin::AdamW{.lr = 0.01}, AdamWOptions(0.01));
  compare<torch::optim::AdamW>(levin::AdamW{.lr = 0.01, .weight_decay = 0.5}, AdamWOptions(0.01).weight_decay(0.5));
}

BOOST_AUTO_TEST_CASE(nesterov_without_momentum_is_an_error) {
  levin::test::check_throws<levin::ConfigError>([] { levin::FlatOptimizer::create(levin::SGD{.nesterov = true}); },
                                                {"nesterov", "momentum 0"});
}

BOOST_AUTO_TEST_SUITE_END()
