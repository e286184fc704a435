// Runs with a few MB of /dev/shm (see the script tests/comm/small_memory): a model that has no room there.
#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <torch/nn/module.h>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin/parallel/strategy.h"
#include "levin_test.h"

using levin::DDP;
using levin::FSDP;
using levin::ShareParameters;
using levin::Strategy;
using levin::StrategyConfig;
using levin::Tensor;

BOOST_AUTO_TEST_SUITE(parallel_small_memory, *boost::unit_test::disabled())

namespace {

struct ScaleImpl : levin::Unit<Tensor(Tensor)> {
  explicit ScaleImpl(int64_t numel) : weight(register_parameter("weight", at::ones({numel}, at::kDouble))) {}
  Tensor compute(Tensor x) override { return weight * x; }
  Tensor weight;
};
LEVIN_UNIT(Scale);

struct Net : torch::nn::Module {
  explicit Net(int64_t numel) : scale(register_module("scale", Scale(numel))) {}
  Scale scale;
};

constexpr int64_t too_large = int64_t{2} << 20, small = 1000;  // doubles: 16 MB, and 8 KB

// Two steps of SGD, in which rank r pulls with r + 1.
Tensor train(Strategy& strategy, Net& net, const levin::Communicator& communicator) {
  levin::OptimizerSpec spec = levin::SGD{.lr = 0.5};
  strategy.setup(net, {spec});
  for (int step = 0; step < 2; step++) {
    strategy.backward(net.scale(at::full({1}, communicator.rank() + 1, at::kDouble)).sum(), 1);
    strategy.reduce(strategy.synchronize_step(0));
    strategy.update([](double lr) { return lr; });
    strategy.zero_grad();
  }
  return net.scale(at::ones({1}, at::kDouble)).detach();
}

}  // namespace

BOOST_AUTO_TEST_CASE(automatic_falls_back_to_private_copies) {
  const auto communicator = levin::Communicator::create_cpu(levin::test::runtime());
  const bool several_hosts = communicator->node()->size() < communicator->size();
  const std::string parts = "fsdp, one copy of the parameters in parts on all ranks";
  struct Case {
    StrategyConfig config;
    int64_t numel;
    std::string form;
  };
  for (const auto& [config, numel, form] :
       {Case{DDP{}, small, "ddp, one copy of the parameters a node"},
        {DDP{}, too_large, "ddp, a private copy of the parameters a rank"},
        {FSDP{}, small, several_hosts ? parts + ", gathered once a node" : "fsdp, one copy of the parameters a node"},
        {FSDP{}, too_large, parts}}) {
    auto strategy = Strategy::create(config, *communicator);
    Net net(numel);
    const auto trained = train(*strategy, net, *communicator);
    BOOST_TEST(strategy->describe() == form);
    const double mean = (communicator->size() + 1) / 2.0;
    BOOST_TEST(at::allclose(trained, at::full({numel}, 1 - mean, at::kDouble)));
    communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(node_is_an_error_on_all_ranks) {
  const auto communicator = levin::Communicator::create_cpu(levin::test::runtime());
  auto strategy = Strategy::create(DDP{ShareParameters::node}, *communicator);
  Net net(too_large);
  levin::test::check_throws<levin::IoError>([&] { strategy->setup(net, {}); }, {"is too small", "private memory"});
  BOOST_TEST(static_cast<int>(levin::IoError("").exit_code()) == 74);
  communicator->barrier();
}

BOOST_AUTO_TEST_SUITE_END()
