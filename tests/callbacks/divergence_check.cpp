#include "levin/callbacks/divergence_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "check_all_throw.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::DivergenceCheck;

BOOST_AUTO_TEST_SUITE(callbacks_divergence_check)

BOOST_AUTO_TEST_CASE(ranks_that_differ_from_most_are_found) {
  using Ranks = std::vector<int>;
  BOOST_TEST(DivergenceCheck::outliers({7, 7, 7}).empty());
  BOOST_TEST(DivergenceCheck::outliers({7, 8, 7}) == (Ranks{1}), boost::test_tools::per_element());
  BOOST_TEST(DivergenceCheck::outliers({8, 7, 7, 9}) == (Ranks{0, 3}), boost::test_tools::per_element());
  BOOST_TEST(DivergenceCheck::outliers({7, 8}) == (Ranks{1}), boost::test_tools::per_element());
}

namespace {

struct LayerImpl : levin::Unit<levin::Tensor(levin::Tensor)> {
  LayerImpl() { linear = register_module("linear", torch::nn::Linear(4, 4)); }
  levin::Tensor compute(levin::Tensor x) override { return linear(x); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Layer);

struct Layered : ReferenceToy {
  Layered() { layer = register_module("layer", Layer()); }
  levin::Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(net(layer(batch["x"])), batch["y"]); }
  void validation_step(const levin::Batch&) override {}
  Layer layer{nullptr};
};

/// Trains eight steps, checked after every second one. After the fourth, at `event`, the copy of the `corrupt` ranks gets a wrong bit.
int64_t train(const levin::StrategyConfig& strategy, const std::vector<int>& corrupt = {}, levin::Event event = levin::Event::step) {
  auto config = reference_config(2);
  config.session.strategy = strategy;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  if (!corrupt.empty())
    trainer.on(event, {.every = 4}, [&] {
      trainer.session().write_parameters([&](const std::string& name, levin::Tensor& parameter) {
        if (name == "layer.linear.bias" && std::ranges::count(corrupt, runtime().rank())) parameter[3] += 1e-12;
      });
    });
  trainer.add_callback(std::make_shared<DivergenceCheck>(levin::DivergenceCheckConfig{.every_n_steps = 2}));
  const auto module = trainer.build<Layered>();
  trainer.fit(*module, data);
  return trainer.global_step();
}

void check_found(const levin::StrategyConfig& strategy, const std::vector<int>& corrupt, levin::Event event, int64_t step) {
  const auto expected = fmt::format("replicas differ after step {}: layer.linear.bias on rank{} {} is not", step,
                                    corrupt.size() == 1 ? "" : "s", fmt::join(corrupt, ", "));
  check_all_throw<levin::Error>([&] { train(strategy, corrupt, event); }, {expected});
}

levin::ShardingOptions apart(std::optional<int64_t> shard_group_size = {}) {
  return {.share_parameters = levin::ShareParameters::none, .shard_group_size = shard_group_size};
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_replicas_pass_under_every_strategy) {
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::DDP{levin::ShareParameters::none}),
        levin::StrategyConfig(levin::Zero1{apart()}), levin::StrategyConfig(levin::Zero2{apart()}), levin::StrategyConfig(levin::FSDP{}),
        levin::StrategyConfig(levin::FSDP{.sharding = apart()}), levin::StrategyConfig(levin::HSDP{apart(1)})})
    BOOST_TEST(train(strategy) == 8);
}

// After the fourth step's check.
BOOST_AUTO_TEST_CASE(a_changed_replica_ends_the_training) {
  const int ranks = runtime().size();
  if (ranks == 1) return;
  check_found(levin::DDP{levin::ShareParameters::none}, {ranks - 1}, levin::Event::step, 6);
  check_found(levin::HSDP{apart(1)}, {ranks - 1}, levin::Event::step, 6);
  if (ranks == 4) check_found(levin::HSDP{apart(2)}, {2, 3}, levin::Event::step, 6);
}

// Before the fourth step's check: the next update would replace what the host did not update itself.
BOOST_AUTO_TEST_CASE(a_changed_copy_of_a_host_ends_the_training) {
  const auto topology = levin::Topology::discover(runtime());
  if (topology.hosts() == 1) return;
  std::vector<int> last_host;  // two hosts, in rank order
  for (int rank = 2; rank < runtime().size(); rank++) last_host.push_back(rank);
  for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::HSDP{})})
    check_found(strategy, last_host, levin::Event::train_batch_end, 4);
}

BOOST_AUTO_TEST_SUITE_END()
