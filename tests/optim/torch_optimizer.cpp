#include "levin/optim/torch_optimizer.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/sgd.h>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Tensor;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(optim_torch_optimizer)

BOOST_AUTO_TEST_CASE(each_groups_rate_follows_the_schedule) {
  const Tensor a = at::ones({2}).set_requires_grad(true), b = at::ones({2}).set_requires_grad(true);
  levin::TorchOptimizer optimizer(
      [](std::vector<Tensor> parameters) {
        std::vector<torch::optim::OptimizerParamGroup> groups;
        groups.emplace_back(std::vector<Tensor>{parameters[0]}, std::make_unique<torch::optim::SGDOptions>(0.5));
        groups.emplace_back(std::vector<Tensor>{parameters[1]}, std::make_unique<torch::optim::SGDOptions>(0.25));
        return std::make_unique<torch::optim::SGD>(groups, torch::optim::SGDOptions(0.5));
      },
      {a, b});
  BOOST_TEST(optimizer.base_lrs() == (std::vector<double>{0.5, 0.25}), boost::test_tools::per_element());
  BOOST_TEST(optimizer.name() == "SGD");
  a.mutable_grad() = at::ones({2});
  b.mutable_grad() = at::ones({2});
  for (int step = 0; step < 2; step++) optimizer.step([](double lr) { return lr / 2; });
  BOOST_TEST(a[0].item<float>() == 0.5f);
  BOOST_TEST(b[0].item<float>() == 0.75f);
}

// A checkpoint that is written before the first step makes no momentum, nor does one that is read.
BOOST_AUTO_TEST_CASE(a_momentum_starts_as_the_first_gradient) {
  const Tensor a = at::ones({2}).set_requires_grad(true);
  levin::TorchOptimizer optimizer(
      [](std::vector<Tensor> parameters) {
        return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(0.5).momentum(0.9).dampening(0.5));
      },
      {a});
  BOOST_TEST(optimizer.state_of(a).at(0).second.eq(0).all().item<bool>());
  optimizer.forget_zeros(a);
  a.mutable_grad() = at::ones({2});
  optimizer.step([](double lr) { return lr; });
  BOOST_TEST(a[0].item<float>() == 0.5f);
  optimizer.forget_zeros(a);
  BOOST_TEST(optimizer.state_of(a).at(0).second[0].item<float>() == 1.f);
  BOOST_TEST(!optimizer.own_steps().has_value());
}

BOOST_AUTO_TEST_CASE(mistakes) {
  const Tensor a = at::ones({2}).set_requires_grad(true);
  a.mutable_grad() = at::ones({2});
  check_throws<levin::UsageError>([&] { levin::TorchOptimizer([](auto&&) { return nullptr; }, {a}); }, {"returned null"});
  // It would be refused in its first step; before it, whether or not there are checkpoints.
  const auto lbfgs = [](std::vector<Tensor> p) { return std::make_unique<torch::optim::LBFGS>(p); };
  check_throws<levin::UsageError>([&] { levin::TorchOptimizer(lbfgs, {a}); }, {"LBFGS", "closure"});
}

BOOST_AUTO_TEST_SUITE_END()
