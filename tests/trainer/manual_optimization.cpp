#include "levin/trainer/manual_optimization.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/linear.h>

#include "check_all_throw.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "toy.h"

using levin::Batch;
using levin::Tensor;
using levin::test::check_all_throw;
using levin::test::check_throws;
using levin::test::over_ranks;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(trainer_manual_optimization)

namespace {

struct LayerImpl : levin::Unit<Tensor(Tensor)> {
  LayerImpl(int64_t inputs, int64_t outputs) { linear = register_module("linear", torch::nn::Linear(inputs, outputs)); }
  Tensor compute(Tensor x) override { return at::relu(linear(x)); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Layer);

// A Wasserstein GAN on points of a curve: two critic steps for each step of the generator, as by Arjovsky et al., 2017.
struct Gan : levin::Module {
  explicit Gan(bool in_parts = false) : long_form(in_parts) {
    generator = register_module("generator", torch::nn::Linear(2, 3));
    critic = register_module("critic", Layer(3, 4));
    head = register_module("head", torch::nn::Linear(4, 1));
  }
  Tensor fake(const Batch& batch) { return at::tanh(generator(batch["noise"])); }
  Tensor score(const Tensor& points) { return head(critic(points)); }
  Tensor critic_loss(const Batch& batch) {
    return (score(fake(batch)) - score(batch["points"])).mean() + score(batch["points"]).square().mean() * 0.1;
  }
  Tensor generator_loss(const Batch& batch) { return -score(fake(batch)).mean(); }

  Tensor training_step(const Batch& batch) override {
    for (int i = 0; i < 2; i++)
      note(long_form ? step_by_hand("critic", critic_loss(batch)) : optimize("critic", [&] { return critic_loss(batch); }), batch);
    note(long_form ? step_by_hand("generator", generator_loss(batch)) : optimize("generator", [&] { return generator_loss(batch); }),
         batch);
    return {};
  }
  // Nothing is frozen: the generator's backward leaves gradients in the critic, which its next step must not see.
  Tensor step_by_hand(std::string_view name, const Tensor& loss) {
    auto& manual = optimizer(name);
    manual.zero_grad();
    manual_backward(loss);
    manual.clip_gradients(0.5);
    BOOST_TEST(manual.step());
    return loss.detach();
  }
  void note(const Tensor& loss, const Batch& batch) {
    losses.push_back(loss.item<double>() * batch.weight());
    weights.push_back(batch.weight());
  }
  bool automatic_optimization() const override { return false; }
  std::vector<levin::OptimizerSpec> configure_optimizers() override {
    levin::OptimizerSpec first = levin::RMSprop{.lr = 0.01}, second = levin::Adam{.lr = 0.02};
    first.name = "critic", first.parameters = {"critic.*", "head.*"};
    second.name = "generator", second.parameters = {"generator.*"};
    second.lr_scheduler = levin::StepLR{.step_size = 4, .gamma = 0.5, .interval = levin::Interval::step};
    return {first, second};
  }

  bool long_form;
  torch::nn::Linear generator{nullptr}, head{nullptr};
  Layer critic{nullptr};
  std::vector<double> losses, weights;
};

struct Points : levin::DataModule {
  levin::DataLoaderSpec train_dataloader() override {
    const Tensor x = at::arange(7 * 13 * 5, at::kDouble).sin().view({91, 5});
    return {std::shared_ptr<levin::TensorDataset>(new levin::TensorDataset{{"noise", x.narrow(1, 0, 2)}, {"points", x.narrow(1, 2, 3)}}),
            {.global_batch_size = 13}};
  }
};

struct Run {
  std::shared_ptr<Gan> gan;
  std::unique_ptr<levin::Trainer> trainer;
  std::vector<double> losses;  // the mean over all ranks
};

Run train(levin::MpiRuntime& mpi, levin::StrategyConfig strategy, bool long_form = false) {
  levin::TrainerConfig config{
      .session = {.strategy = std::move(strategy), .precision = levin::Precision::float64, .gradient_clip_val = 0.5}, .max_epochs = 2};
  Run run;
  run.trainer = std::make_unique<levin::Trainer>(config, mpi, 3);
  run.gan = run.trainer->build<Gan>(long_form);
  Points data;
  run.trainer->fit(*run.gan, data);
  const auto count = static_cast<int64_t>(run.gan->losses.size());
  const Tensor sums = at::zeros({2, count}, at::kDouble);
  for (int64_t i = 0; i < count; i++) {
    sums[0][i] = run.gan->losses[static_cast<size_t>(i)];
    sums[1][i] = run.gan->weights[static_cast<size_t>(i)];
  }
  run.trainer->session().communicator().all_reduce(sums).wait();
  const Tensor mean = (sums[0] / sums[1]).contiguous();
  run.losses.assign(mean.const_data_ptr<double>(), mean.const_data_ptr<double>() + count);
  return run;
}

// The same on this rank alone.
std::vector<double> alone(bool long_form = false) {
  runtime();
  MPI_Comm self;
  MPI_Comm_dup(MPI_COMM_SELF, &self);
  std::vector<double> losses;
  {
    levin::MpiRuntime mpi(self);
    losses = train(mpi, levin::AutoStrategy{}, long_form).losses;
  }
  MPI_Comm_free(&self);
  return losses;
}

void check_equal(const std::vector<double>& ours, const std::vector<double>& theirs) {
  BOOST_TEST_REQUIRE(ours.size() == theirs.size());
  for (size_t i = 0; i < ours.size(); i++)
    BOOST_TEST(std::abs(ours[i] - theirs[i]) < 1e-9, "loss " << i << ": " << ours[i] << ", " << theirs[i]);
}

// A module whose training_step is a function.
struct Free : levin::test::Toy {
  Tensor training_step(const Batch& batch) override { return step(*this, batch); }
  bool automatic_optimization() const override { return false; }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return specs; }
  using Module::manual_backward, Module::optimize, Module::optimizer, Module::trainer;
  std::function<Tensor(Free&, const Batch&)> step;
  std::vector<levin::OptimizerSpec> specs{levin::SGD{.lr = 1}};
  Tensor loss(const Batch& batch) { return net(batch["x"]).mean(); }
};

std::unique_ptr<levin::Trainer> fit_free(Free& module, int64_t steps = 1) {
  auto trainer = std::make_unique<levin::Trainer>(
      levin::TrainerConfig{.max_epochs = 1, .limit_train_batches = levin::Limit::batches(steps), .num_sanity_val_steps = 0}, runtime());
  levin::test::ToyData data;
  trainer->fit(module, data);
  return trainer;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_gan_has_the_losses_of_one_rank_on_any_number) {
  const auto expected = alone();
  BOOST_TEST(expected.size() == 42u);  // 3 steps for each of 14 batches
  BOOST_TEST(std::abs(expected[41] - expected[2]) > 1e-3);
  const levin::ShardingOptions own{.share_parameters = levin::ShareParameters::none};
  for (const levin::StrategyConfig& strategy : std::vector<levin::StrategyConfig>{
           levin::DDP{}, levin::DDP{own.share_parameters}, levin::Zero1{own}, levin::Zero2{own}, levin::FSDP{.sharding = own}}) {
    const auto run = train(runtime(), strategy);
    check_equal(run.losses, expected);
    BOOST_TEST(run.trainer->global_step() == 14);
    BOOST_TEST(run.trainer->session().learning_rate(1) == 0.02 / 8);
    BOOST_TEST(run.trainer->session().learning_rate(0) == 0.01);
    check_equal(train(runtime(), strategy, true).losses, expected);
  }
}

BOOST_AUTO_TEST_CASE(gradients_of_several_losses_are_added_up_as_in_pytorch) {
  Free module;
  Tensor before;
  module.step = [&](Free& toy, const Batch& batch) {
    before = toy.net->bias.detach().clone();
    toy.trainer().session().communicator().barrier();
    toy.manual_backward(toy.loss(batch) * 2);
    toy.manual_backward(toy.loss(batch) * 3);
    for (const auto& [name, slice, offset] : toy.optimizer("sgd").gradients())
      if (name == "net.bias" && slice.numel() > 0) BOOST_TEST(slice.item<float>() == 5);
    toy.optimizer("sgd").step();
    return Tensor();
  };
  const auto trainer = fit_free(module);
  BOOST_TEST((before - module.net->bias).item<float>() == 5, boost::test_tools::tolerance(1e-6f));
  BOOST_TEST(trainer->global_step() == 1);
  trainer->session().communicator().barrier();
}

BOOST_AUTO_TEST_CASE(a_batch_without_a_step_counts_none) {
  Free module;
  int batches = 0;
  module.step = [&](Free& toy, const Batch& batch) {
    toy.manual_backward(toy.loss(batch));
    if (++batches % 2 == 0) toy.optimizer("sgd").step();
    return Tensor();
  };
  BOOST_TEST(fit_free(module, 5)->global_step() == 2);
}

// The gradients that peers have read are not touched before they have met, and nothing moves.
BOOST_AUTO_TEST_CASE(gradients_that_were_reduced_can_be_dropped) {
  Free module;
  Tensor before;
  module.step = [&](Free& toy, const Batch& batch) {
    if (!before.defined()) before = toy.net->weight.detach().clone();
    auto& sgd = toy.optimizer("sgd");
    toy.manual_backward(toy.loss(batch));
    BOOST_TEST(sgd.reduce());
    check_throws<levin::UsageError>([&] { toy.manual_backward(toy.loss(batch)); }, {"\"sgd\" were reduced", "zero_grad"});
    sgd.zero_grad();
    return Tensor();
  };
  BOOST_TEST(fit_free(module, 3)->global_step() == 0);
  BOOST_TEST(at::equal(before, module.net->weight));
}

BOOST_AUTO_TEST_CASE(a_toggled_optimizer_freezes_the_others) {
  levin::Trainer trainer({.max_steps = 1, .num_sanity_val_steps = 0}, runtime());
  struct Watch : Gan {
    Tensor training_step(const Batch& batch) override {
      optimize("critic", [&] {
        BOOST_TEST(!generator->weight.requires_grad());
        BOOST_TEST(head->weight.requires_grad());
        return critic_loss(batch);
      });
      BOOST_TEST(generator->weight.requires_grad());
      return {};
    }
  };
  const auto gan = trainer.build<Watch>();
  Points data;
  trainer.fit(*gan, data);
}

BOOST_AUTO_TEST_CASE(mistakes) {
  Free module;
  module.step = [](Free& toy, const Batch& batch) {
    check_throws<levin::UsageError>([&] { toy.optimize("sdg", [&] { return toy.loss(batch); }); }, {"unknown optimizer \"sdg\"", "sgd"});
    return Tensor();
  };
  fit_free(module);
  check_throws<levin::UsageError>([&] { module.optimizer("sgd"); }, {"without manual optimization", "automatic_optimization"});
  check_throws<levin::UsageError>([&] { module.trainer(); }, {"not in a run"});
  if (runtime().size() > 1) return;  // an exception inside a run ends the communicator
  levin::test::ToyData data;
  levin::Trainer accumulating({.max_steps = 1, .accumulate_grad_batches = 2}, runtime());
  check_all_throw<levin::ConfigError>([&] { accumulating.fit(module, data); }, {"accumulate_grad_batches is 2", "manually"});
  struct Two : levin::test::Toy {
    std::vector<levin::OptimizerSpec> configure_optimizers() override {
      levin::OptimizerSpec first = levin::SGD{}, second = levin::SGD{};
      first.parameters = {"*.weight"}, second.parameters = {"*.bias"};
      return {first, second};
    }
  } two;
  levin::Trainer automatic({.max_steps = 1}, runtime());
  check_throws<levin::UsageError>([&] { automatic.fit(two, data); }, {"2 optimizers", "automatic_optimization"});
}

BOOST_AUTO_TEST_CASE(ranks_that_step_different_optimizers_get_an_error) {
  if (runtime().size() == 1) return;
  Gan gan;
  levin::Session session(runtime());
  session.setup(gan);
  const size_t optimizer = session.rank() == 0 ? 1 : 0;
  if (session.rank() <= 1)
    check_throws<levin::UsageError>([&] { session.reduce(optimizer); }, {"\"critic\"", "\"generator\"", "rank 0", "rank 1"});
  else
    BOOST_CHECK_THROW(session.reduce(optimizer), levin::Error);
}

BOOST_AUTO_TEST_SUITE_END()
