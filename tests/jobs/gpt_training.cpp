#include "gpt_training.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/comm/communicator.h"
#include "levin_test.h"

namespace levin::test {
namespace {

constexpr int64_t samples = 12, length = 16;

}  // namespace

gpt::GptConfig small_gpt(gpt::Activation activation, gpt::Positions positions) {
  gpt::GptConfig config;
  config.shape = {.layers = 2, .width = 32, .heads = 4, .activation = activation, .positions = positions};
  config.context = length;
  config.warmup = 5;
  return config;
}

std::vector<double> gpt_losses(MpiRuntime& runtime, const SessionConfig& config, const gpt::GptConfig& model_config, int steps) {
  Session session(runtime, config, /*seed=*/5);
  const auto model = session.build<gpt::Gpt>(model_config);
  session.setup(*model);
  session.progress().total_steps = steps;
  const int64_t mine = samples / session.size(), begin = mine * session.rank();
  std::vector<double> found;
  for (int step = 0; step < steps; step++) {
    // Texts that repeat themselves, so that there is something to learn.
    const Tensor numbers = at::arange(samples * (length + 1), at::kLong).view({samples, length + 1});
    const Tensor tokens = ((numbers * (step % 3 + 3)).remainder(61) + 40).narrow(0, begin, mine);
    Batch batch;
    batch.set("input", tokens.narrow(1, 0, length).contiguous());
    batch.set("target", tokens.narrow(1, 1, length).contiguous());
    session.receive(batch);
    session.expect_step();
    Tensor loss;
    {
      const auto autocast = session.autocast();
      loss = model->training_step(batch);
    }
    session.backward(loss, static_cast<double>(mine));
    session.step();
    const Tensor total = loss.detach().to(at::kDouble).view({1}) / session.size();
    session.communicator().all_reduce(total).wait();
    found.push_back(total.item<double>());
  }
  session.communicator().barrier();
  return found;
}

std::vector<std::pair<std::string, StrategyConfig>> gpt_strategies(int ranks) {
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  auto pairs = own;
  pairs.shard_group_size = ranks % 2 == 0 ? 2 : 1;
  return {{"ddp, shared", DDP{}},          {"ddp", DDP{ShareParameters::none}}, {"zero1", Zero1{own}},
          {"zero2", Zero2{own}},           {"fsdp", FSDP{.sharding = own}},     {"hsdp", HSDP{pairs}},
          {"fsdp by its defaults", FSDP{}}};
}

void follow_one_rank(const SessionConfig& config, const gpt::GptConfig& model, int steps, double tolerance) {
  MpiRuntime alone(MPI_COMM_SELF);
  auto changed = config;
  changed.accelerator = "cpu";
  const auto expected = gpt_losses(alone, changed, model, steps);
  BOOST_TEST(expected.back() < expected.front());
  changed.accelerator = config.accelerator;
  for (const auto& [name, strategy] : gpt_strategies(runtime().size())) {
    changed.strategy = strategy;
    const auto found = gpt_losses(runtime(), changed, model, steps);
    for (size_t step = 0; step < found.size(); step++)
      if (!(std::abs(found[step] - expected[step]) < tolerance)) {
        BOOST_ERROR(name << ": the loss of step " << step << " is " << found[step] << ", one rank's " << expected[step]);
        break;
      }
  }
}

}  // namespace levin::test
