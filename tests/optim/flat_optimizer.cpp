#include "levin/optim/flat_optimizer.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cmath>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Tensor;

BOOST_AUTO_TEST_SUITE(optim_flat_optimizer)

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

BOOST_AUTO_TEST_CASE(adagrad_as_libtorch) {
  using torch::optim::AdagradOptions;
  compare<torch::optim::Adagrad>(levin::Adagrad{.lr = 0.1}, AdagradOptions(0.1));
  compare<torch::optim::Adagrad>(levin::Adagrad{.lr = 0.1, .lr_decay = 0.2, .eps = 1e-6, .weight_decay = 0.1},
                                 AdagradOptions(0.1).lr_decay(0.2).eps(1e-6).weight_decay(0.1));
}

BOOST_AUTO_TEST_CASE(rmsprop_as_libtorch) {
  using torch::optim::RMSpropOptions;
  compare<torch::optim::RMSprop>(levin::RMSprop{.lr = 0.01}, RMSpropOptions(0.01));
  compare<torch::optim::RMSprop>(levin::RMSprop{.lr = 0.01, .alpha = 0.9, .eps = 1e-6, .weight_decay = 0.1, .momentum = 0.5},
                                 RMSpropOptions(0.01).alpha(0.9).eps(1e-6).weight_decay(0.1).momentum(0.5));
  compare<torch::optim::RMSprop>(levin::RMSprop{.lr = 0.01, .momentum = 0.9, .centered = true},
                                 RMSpropOptions(0.01).momentum(0.9).centered(true));
}

// The paper's Algorithm 2, element by element.
BOOST_AUTO_TEST_CASE(lion_as_in_the_paper) {
  const levin::Lion config{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.9, .weight_decay = 0.5};
  const auto optimizer = levin::FlatOptimizer::create(config);
  const Tensor parameters = at::randn({17}, at::kDouble);
  auto state = optimizer->make_state(parameters);
  std::vector<double> expected(parameters.data_ptr<double>(), parameters.data_ptr<double>() + 17), momentum(17, 0.0);
  for (int step = 0; step < 5; step++) {
    const Tensor gradients = at::randn({17}, at::kDouble);
    const double* gradient = gradients.data_ptr<double>();
    optimizer->step(parameters, gradients, state, config.lr, config.weight_decay);
    for (size_t i = 0; i < 17; i++) {
      const double direction = config.beta1 * momentum[i] + (1 - config.beta1) * gradient[i];
      expected[i] -= config.lr * ((direction > 0 ? 1 : -1) + config.weight_decay * expected[i]);
      momentum[i] = config.beta2 * momentum[i] + (1 - config.beta2) * gradient[i];
      BOOST_TEST(parameters.data_ptr<double>()[i] == expected[i], boost::test_tools::tolerance(1e-12));
    }
  }
}

// The paper's Algorithm 2 with phi(z) = z; the slice is one parameter.
BOOST_AUTO_TEST_CASE(lamb_as_in_the_paper) {
  const levin::LAMB config{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.5};
  const auto optimizer = levin::FlatOptimizer::create(config);
  const Tensor parameters = at::randn({17}, at::kDouble);
  auto state = optimizer->make_state(parameters);
  std::vector<double> expected(parameters.data_ptr<double>(), parameters.data_ptr<double>() + 17), m(17, 0.0), v(17, 0.0), r(17);
  for (int step = 1; step <= 5; step++) {
    const Tensor gradients = at::randn({17}, at::kDouble);
    const double* gradient = gradients.data_ptr<double>();
    optimizer->step(parameters, gradients, state, config.lr, config.weight_decay);
    double x_squares = 0, r_squares = 0;
    for (size_t i = 0; i < 17; i++) {
      m[i] = config.beta1 * m[i] + (1 - config.beta1) * gradient[i];
      v[i] = config.beta2 * v[i] + (1 - config.beta2) * gradient[i] * gradient[i];
      const double mean = m[i] / (1 - std::pow(config.beta1, step)), square = v[i] / (1 - std::pow(config.beta2, step));
      r[i] = mean / (std::sqrt(square) + config.eps) + config.weight_decay * expected[i];
      x_squares += expected[i] * expected[i];
      r_squares += r[i] * r[i];
    }
    for (size_t i = 0; i < 17; i++) {
      expected[i] -= config.lr * std::sqrt(x_squares / r_squares) * r[i];
      BOOST_TEST(parameters.data_ptr<double>()[i] == expected[i], boost::test_tools::tolerance(1e-10));
    }
  }
}

BOOST_AUTO_TEST_CASE(lamb_moves_a_parameter_of_zeros) {
  const auto optimizer = levin::FlatOptimizer::create(levin::LAMB{});
  const Tensor parameters = at::zeros({3}, at::kDouble);
  auto state = optimizer->make_state(parameters);
  optimizer->step(parameters, at::ones({3}, at::kDouble), state, 0.1, 0.01);
  BOOST_TEST(at::allclose(parameters, at::full({3}, -0.1, at::kDouble), 1e-5, 0));
}

// In 16-true and bf16-true all of a slice is in one narrow dtype. Some gradients are zeros, as of rows that a batch did not ask for.
BOOST_AUTO_TEST_CASE(slices_in_fp16_and_bf16_follow_fp32) {
  const std::vector<levin::OptimizerConfig> configs{levin::SGD{.lr = 0.05, .weight_decay = 0.1},
                                                    levin::SGD{.lr = 0.05, .momentum = 0.9, .nesterov = true},
                                                    levin::Adam{.lr = 0.05},
                                                    levin::AdamW{.lr = 0.05},
                                                    levin::Adagrad{.lr = 0.05},
                                                    levin::RMSprop{.lr = 0.01},
                                                    levin::RMSprop{.lr = 0.01, .weight_decay = 0.1, .momentum = 0.5, .centered = true},
                                                    levin::Lion{.lr = 0.01, .weight_decay = 0.1},
                                                    levin::LAMB{.lr = 0.05}};
  for (const auto& config : configs)
    for (const auto dtype : {at::kHalf, at::kBFloat16}) {
      const Tensor narrow = at::randn({1031}).to(dtype), wide = narrow.to(at::kFloat), start = wide.clone();
      const auto optimizer = levin::FlatOptimizer::create(config);
      auto narrow_state = optimizer->make_state(narrow), wide_state = optimizer->make_state(wide);
      for (int step = 0; step < 4; step++) {
        const Tensor gradient = at::randn({1031}).add_(1).to(dtype);
        gradient.narrow(0, 0, 100).zero_();
        optimizer->step(narrow, gradient, narrow_state, levin::base_lr(config), levin::base_weight_decay(config));
        optimizer->step(wide, gradient.to(at::kFloat), wide_state, levin::base_lr(config), levin::base_weight_decay(config));
      }
      const auto name = levin::optimizer_name(config) + (dtype == at::kHalf ? " in fp16" : " in bf16");
      const double difference = (narrow.to(at::kFloat) - wide).abs().mean().item<double>(),
                   moved = (wide - start).abs().mean().item<double>();
      BOOST_TEST(moved > 0.01, name << " moved by " << moved);
      BOOST_TEST(difference < 0.25 * moved, name << " differs by " << difference << " of " << moved);
      BOOST_TEST(narrow.isfinite().all().item<bool>(), name);
      BOOST_TEST(narrow_state.step.item<float>() == 4.f);
      BOOST_TEST(narrow_state.tensors.size() == optimizer->state_names().size());
      for (const auto& tensor : narrow_state.tensors) BOOST_TEST((tensor.scalar_type() == dtype), name);
    }
}

BOOST_AUTO_TEST_CASE(nesterov_without_momentum_is_an_error) {
  levin::test::check_throws<levin::ConfigError>([] { levin::FlatOptimizer::create(levin::SGD{.nesterov = true}); },
                                                {"nesterov", "momentum 0"});
}

BOOST_AUTO_TEST_SUITE_END()
