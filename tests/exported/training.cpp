#include <fmt/format.h>

#include "fixture.h"
#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"

using levin::ActivationCheckpointing;
using levin::Precision;
using levin::Tensor;
using levin::test::difference;
using levin::test::EagerRun;
using levin::test::ExportedTraining;
using levin::test::fixture_optimizer;
using levin::test::FolderOfRanks;
using levin::test::runtime;
using levin::test::UnitPatterns;

BOOST_AUTO_TEST_SUITE(exported_training)

namespace {

levin::SessionConfig with(levin::StrategyConfig strategy, ActivationCheckpointing checkpointing = ActivationCheckpointing::none) {
  return {.strategy = std::move(strategy), .precision = Precision::float64, .activation_checkpointing = checkpointing};
}

levin::FSDP fsdp(levin::ShareParameters share) { return {.sharding = {.share_parameters = share}}; }

// The eager run's, without the later names of tied parameters, which a training has once.
std::map<std::string, Tensor> eager_state(const ExportedTraining& training, const std::string& optimizer) {
  auto state = training.eager.with_prefix(optimizer + "/state/");
  const auto parameters = training.model->named_parameters();
  for (size_t i = 0; i < parameters.size(); i++)
    for (size_t earlier = 0; earlier < i; earlier++)
      if (parameters[i].value().is_same(parameters[earlier].value())) state.erase(parameters[i].key());
  return state;
}

}  // namespace

// In float64, on one rank: losses of 20 steps, weights and buffers, and a loss in evaluation.
BOOST_AUTO_TEST_CASE(twenty_steps_equal_eager_pytorch) {
  if (runtime().rank() > 0) return;
  levin::MpiRuntime alone(MPI_COMM_SELF);
  for (const std::string name : {"mlp", "resnet", "gpt", "lstm", "attention", "unet", "fourier"})
    for (const std::string optimizer : {"sgd", "adamw"}) {
      BOOST_TEST_CONTEXT(name << " with " << optimizer) {
        ExportedTraining training(name, alone, with(levin::SingleDevice{}), fixture_optimizer(optimizer));
        const Tensor losses = training.eager[optimizer + "/losses"];
        for (int64_t step = 0; step < losses.numel(); step++)
          BOOST_TEST(std::abs(training.step().item<double>() - losses[step].item<double>()) < 1e-9);
        const auto expected = eager_state(training, optimizer);
        BOOST_TEST(difference(training.state(), expected, 1e-9) == "");
        BOOST_TEST(std::abs(training.evaluate(0) - training.eager[optimizer + "/eval_loss"].item<double>()) < 1e-9);
      }
    }
}

// The same stream of random numbers as Python's: dropout from the default generator.
BOOST_AUTO_TEST_CASE(dropout_draws_what_pytorch_draws) {
  const EagerRun eager("mlp_dropout");
  levin::ExportedProgram model(levin::test::fixture("mlp_dropout.pt2"));
  at::manual_seed(1000);
  const double loss = model.forward(eager.batch(0)).at("loss").item<double>();
  BOOST_TEST(std::abs(loss - eager["seeded/losses"][0].item<double>()) < 1e-12);
  BOOST_TEST(std::abs(loss - model.forward(eager.batch(0)).at("loss").item<double>()) > 1e-6);
}

BOOST_AUTO_TEST_CASE(ranks_under_every_strategy_equal_one_rank) {
  const auto private_copies = levin::ShareParameters::none, shared = levin::ShareParameters::automatic;
  struct Case {
    std::string model;
    levin::StrategyConfig strategy;
    ActivationCheckpointing checkpointing = ActivationCheckpointing::none;
  };
  const Case cases[] = {{"gpt", levin::DDP{}},
                        {"gpt", levin::DDP{private_copies}, ActivationCheckpointing::units},
                        {"gpt", levin::Zero2{}},
                        {"gpt", fsdp(shared)},
                        {"gpt", fsdp(private_copies)},
                        {"gpt", fsdp(shared), ActivationCheckpointing::units},
                        {"gpt", fsdp(private_copies), ActivationCheckpointing::units},
                        {"unet", levin::DDP{}},
                        {"unet", fsdp(private_copies)}};
  const int64_t steps = 4;
  levin::MpiRuntime alone(MPI_COMM_SELF);
  std::map<std::string, std::map<std::string, Tensor>> expected;
  for (const std::string model : {"gpt", "unet"}) {
    ExportedTraining training(model, alone, with(levin::SingleDevice{}), fixture_optimizer("adamw"),
                              UnitPatterns(std::vector<std::string>()));
    training.run_to(steps);
    expected[model] = training.state();
  }
  for (const auto& [model, strategy, checkpointing] : cases)
    BOOST_TEST_CONTEXT(model << " with strategy " << strategy.index() << ", " << enum_name(checkpointing)) {
      ExportedTraining training(model, runtime(), with(strategy, checkpointing), fixture_optimizer("adamw"));
      BOOST_TEST(training.session.strategy().units().size() == (model == "gpt" ? 2u : 0u));
      training.run_to(steps);
      BOOST_TEST(difference(training.state(), expected.at(model), 1e-9) == "");
    }
}

// BatchNorm in units whose forward is computed twice: its statistics are updated once.
BOOST_AUTO_TEST_CASE(recomputed_units_update_buffers_once) {
  if (runtime().rank() > 0) return;
  levin::MpiRuntime alone(MPI_COMM_SELF);
  ExportedTraining training("resnet", alone, with(levin::SingleDevice{}, ActivationCheckpointing::units), fixture_optimizer("sgd"),
                            UnitPatterns(std::vector<std::string>{"blocks.*"}));
  BOOST_TEST(training.session.strategy().units().size() == 2u);
  training.run_to(20);
  BOOST_TEST(difference(training.state(), eager_state(training, "sgd"), 1e-9) == "");
}

// Batch normalizations of an exported graph have the statistics of all ranks: what eager PyTorch made of the whole batches.
BOOST_AUTO_TEST_CASE(synchronized_batch_normalization_equals_eager_pytorch) {
  const auto private_copies = levin::ShareParameters::none;
  for (const std::string name : {"mlp", "resnet"})
    for (const auto& strategy : std::vector<levin::StrategyConfig>{levin::DDP{}, levin::Zero2{}, fsdp(private_copies)})
      for (const auto checkpointing : {ActivationCheckpointing::none, ActivationCheckpointing::units}) {
        auto config = with(strategy, checkpointing);
        config.sync_batchnorm = true;
        ExportedTraining training(name, runtime(), config, fixture_optimizer("sgd"));
        training.run_to(20);
        BOOST_TEST(difference(training.state(), eager_state(training, "sgd"), 1e-9) == "", name << ", strategy " << strategy.index());
      }
}

// With dropout, on every rank of its own.
BOOST_AUTO_TEST_CASE(stop_and_resume_is_exact) {
  const FolderOfRanks folder;
  for (const auto& strategy : std::vector<levin::StrategyConfig>{levin::AutoStrategy{}, fsdp(levin::ShareParameters::none)}) {
    const auto train = [&](int64_t stop, bool resume) {
      ExportedTraining training("mlp_dropout", runtime(), with(strategy), fixture_optimizer("adamw"));
      if (resume) training.session.restore(folder.path / "checkpoint");
      while (training.session.progress().step < stop) training.wide_step();
      if (!resume) training.session.save(folder.path / "checkpoint");
      while (training.session.progress().step < 6) training.wide_step();
      return training.state();
    };
    const auto unbroken = train(3, false), resumed = train(3, true);
    BOOST_TEST(difference(resumed, unbroken, 0) == "");
  }
}

// Under its first name, whatever the number of ranks; the second name is the same tensor.
BOOST_AUTO_TEST_CASE(a_tied_weight_is_one_parameter) {
  ExportedTraining training("gpt", runtime(), with(levin::AutoStrategy{}), fixture_optimizer("sgd"));
  const auto parameters = training.model->named_parameters();
  BOOST_TEST(parameters["tokens.weight"].is_same(parameters["head.weight"]));
  size_t tied = 0;
  for (const auto& [name, tensor] : training.session.strategy().parameters())
    tied += name == "tokens.weight" || name == "head.weight" ? 1 : 0;
  BOOST_TEST(tied == 1u);
  training.run_to(2);
  BOOST_TEST(training.model->named_parameters()["tokens.weight"].is_same(training.model->named_parameters()["head.weight"]));
}

// Parameters, batches and the dtypes in the graph follow the session's precision, though the export was in float64.
BOOST_AUTO_TEST_CASE(every_precision_trains) {
  const std::vector<std::pair<Precision, at::ScalarType>> precisions = {
      {Precision::float32, at::kFloat}, {Precision::bfloat16, at::kBFloat16}, {Precision::bfloat16_mixed, at::kFloat}};
  for (const std::string name : {"mlp", "gpt", "lstm", "attention", "unet"})
    for (const auto& [precision, dtype] : precisions) {
      if (name == "lstm" && precision == Precision::bfloat16_mixed) continue;  // LibTorch's LSTM fails under autocast on some CPUs
      BOOST_TEST_CONTEXT(name << " in " << enum_name(precision)) {
        ExportedTraining training(name, runtime(), {.precision = precision}, fixture_optimizer("sgd"));
        double last = 0;
        const double first = training.wide_step().item<double>();
        const double expected = training.eager["sgd/losses"][0].item<double>();
        if (runtime().size() == 1) BOOST_TEST(std::abs(first - expected) < (precision == Precision::float32 ? 1e-5 : 0.05));
        for (int step = 0; step < 2; step++) last = training.wide_step().item<double>();
        BOOST_TEST(std::isfinite(last));
        for (const auto& item : training.model->named_parameters()) BOOST_TEST((item.value().scalar_type() == dtype));
      }
    }
}

BOOST_AUTO_TEST_SUITE_END()
