// The GPT of jobs/gpt under every strategy follows one rank.
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../../jobs/gpt/gpt.h"
#include "levin/comm/communicator.h"
#include "levin/trainer/session.h"
#include "levin_test.h"

using levin::ShardingOptions;
using levin::ShareParameters;
using levin::Tensor;

namespace {

constexpr int64_t samples = 12, length = 16, vocabulary = 256;

gpt::GptConfig small_gpt(gpt::Activation activation, gpt::Positions positions) {
  gpt::GptConfig config;
  config.shape = {.layers = 2, .width = 32, .heads = 4, .activation = activation, .positions = positions};
  config.context = length;
  config.warmup = 5;
  return config;
}

// The loss of each step, over all ranks.
std::vector<double> losses(levin::MpiRuntime& runtime, const levin::SessionConfig& config, const gpt::GptConfig& shape, int steps) {
  levin::Session session(runtime, config, /*seed=*/5);
  const auto model = session.build<gpt::Gpt>(shape);
  session.setup(*model);
  session.progress().total_steps = steps;
  const int64_t mine = samples / session.size(), begin = mine * session.rank();
  std::vector<double> found;
  for (int step = 0; step < steps; step++) {
    // Texts that repeat themselves, so that there is something to learn.
    const Tensor numbers = at::arange(samples * (length + 1), at::kLong).view({samples, length + 1});
    const Tensor tokens = ((numbers * (step % 3 + 3)).remainder(61) + 40).narrow(0, begin, mine);
    levin::Batch batch;
    batch.set("input", tokens.narrow(1, 0, length).contiguous());
    batch.set("target", tokens.narrow(1, 1, length).contiguous());
    session.receive(batch);
    session.expect_step();
    const Tensor loss = model->training_step(batch);
    session.backward(loss, static_cast<double>(mine));
    session.step();
    const Tensor total = loss.detach().to(at::kDouble).view({1}) / session.size();
    session.communicator().all_reduce(total).wait();
    found.push_back(total.item<double>());
  }
  session.communicator().barrier();
  return found;
}

std::vector<std::pair<std::string, levin::StrategyConfig>> strategies(int ranks) {
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  auto pairs = own;
  pairs.shard_group_size = ranks % 2 == 0 ? 2 : 1;
  std::vector<std::pair<std::string, levin::StrategyConfig>> all{
      {"ddp, shared", levin::DDP{}},          {"ddp", levin::DDP{ShareParameters::none}}, {"zero1", levin::Zero1{own}},
      {"zero2", levin::Zero2{own}},           {"fsdp", levin::FSDP{.sharding = own}},     {"hsdp", levin::HSDP{pairs}},
      {"fsdp by its defaults", levin::FSDP{}}};
  return all;
}

void follow_one_rank(const levin::SessionConfig& base, const gpt::GptConfig& shape, int steps, double tolerance) {
  auto& all = levin::test::runtime();
  levin::MpiRuntime alone(MPI_COMM_SELF);
  auto config = base;
  const auto expected = losses(alone, config, shape, steps);
  BOOST_TEST(expected.back() < expected.front());
  for (const auto& [name, strategy] : strategies(all.size())) {
    config.strategy = strategy;
    const auto found = losses(all, config, shape, steps);
    for (size_t step = 0; step < found.size(); step++)
      if (!(std::abs(found[step] - expected[step]) < tolerance)) {
        BOOST_ERROR(name << ": the loss of step " << step << " is " << found[step] << ", one rank's " << expected[step]);
        break;
      }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(jobs_gpt_strategies)

BOOST_AUTO_TEST_CASE(fifty_steps_in_float64) {
  levin::SessionConfig config;
  config.precision = levin::Precision::float64;
  config.gradient_clip_val = 1;
  const bool several_hosts = levin::Topology::discover(levin::test::runtime()).hosts() > 1;
  follow_one_rank(config, small_gpt(gpt::Activation::gelu, gpt::Positions::learned), several_hosts ? 8 : 50, 1e-9);
  config.activation_checkpointing = levin::ActivationCheckpointing::units;
  follow_one_rank(config, small_gpt(gpt::Activation::swiglu, gpt::Positions::rotary), 8, 1e-9);
}

BOOST_AUTO_TEST_CASE(ten_steps_in_float32) { follow_one_rank({}, small_gpt(gpt::Activation::gelu, gpt::Positions::rotary), 10, 1e-4); }

BOOST_AUTO_TEST_SUITE_END()
