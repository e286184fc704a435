#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "captured_stderr.h"
#include "fixture.h"
#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "levin/core/log.h"
#include "levin/data/tensor_dataset.h"
#include "levin/exported/exported_model.h"
#include "levin/nn/unit.h"
#include "levin/plan/plan.h"
#include "levin/profilers/simple_profiler.h"
#include "levin/trainer/trainer.h"
#include "zip_writer.h"

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

/// The samples of a fixture.
struct FixtureData : levin::DataModule {
  explicit FixtureData(const std::string& model) {
    const EagerRun eager(model);
    std::vector<std::pair<std::string, Tensor>> arrays;
    for (const auto& [name, tensor] : eager.with_prefix("batch/")) arrays.emplace_back(name, tensor.flatten(0, 1));
    samples = std::make_shared<levin::TensorDataset>(std::move(arrays));
  }
  levin::DataLoaderSpec train_dataloader() override { return {samples, {.global_batch_size = 12}}; }

  std::shared_ptr<levin::Dataset> samples;
};

}  // namespace

// In float64, on one rank: losses of 20 steps, weights and buffers, and a loss in evaluation.
BOOST_AUTO_TEST_CASE(twenty_steps_equal_eager_pytorch) {
  if (runtime().rank() > 0) return;
  levin::MpiRuntime alone(MPI_COMM_SELF);
  for (const std::string name : {"mlp", "resnet", "gpt", "embeddings", "lstm", "attention", "unet", "fourier"})
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
  // On 4 ranks two copies of two parts each.
  const levin::ShardingOptions in_groups{.share_parameters = private_copies, .shard_group_size = runtime().size() == 4 ? 2 : 1};
  struct Case {
    std::string model;
    levin::StrategyConfig strategy;
    ActivationCheckpointing checkpointing = ActivationCheckpointing::none;
  };
  const Case cases[] = {{"gpt", levin::DDP{}},
                        {"gpt", levin::DDP{private_copies}, ActivationCheckpointing::units},
                        {"gpt", levin::Zero1{}},
                        {"gpt", levin::Zero1{{.share_parameters = private_copies}}},
                        {"gpt", levin::Zero2{}},
                        {"gpt", fsdp(shared)},
                        {"gpt", fsdp(private_copies)},
                        {"gpt", fsdp(shared), ActivationCheckpointing::units},
                        {"gpt", fsdp(private_copies), ActivationCheckpointing::units},
                        {"gpt", levin::HSDP{}},
                        {"gpt", levin::HSDP{in_groups}},
                        {"gpt", levin::HSDP{in_groups}, ActivationCheckpointing::units},
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

// nn.Embedding(sparse=True) in units: what eager PyTorch made of dense gradients.
BOOST_AUTO_TEST_CASE(sparse_embeddings_train_with_dense_gradients) {
  const UnitPatterns units(std::vector<std::string>{"words", "bag"});
  for (const auto& strategy : std::vector<levin::StrategyConfig>{levin::DDP{}, levin::Zero2{}, fsdp(levin::ShareParameters::automatic),
                                                                 fsdp(levin::ShareParameters::none)})
    for (const auto checkpointing : {ActivationCheckpointing::none, ActivationCheckpointing::units}) {
      ExportedTraining training("embeddings", runtime(), with(strategy, checkpointing), fixture_optimizer("adamw"), units);
      training.run_to(20);
      BOOST_TEST(difference(training.state(), eager_state(training, "adamw"), 1e-9) == "", "strategy " << strategy.index());
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

// Dropout in a unit draws the same numbers in both computations.
BOOST_AUTO_TEST_CASE(recomputed_units_repeat_their_random_numbers) {
  const auto train = [](ActivationCheckpointing checkpointing) {
    ExportedTraining training("mlp_dropout", runtime(), with(levin::AutoStrategy{}, checkpointing), fixture_optimizer("sgd"),
                              UnitPatterns(std::vector<std::string>{"input", "dropout", "output"}));
    while (training.session.progress().step < 4) training.wide_step();
    return training.state();
  };
  BOOST_TEST(difference(train(ActivationCheckpointing::units), train(ActivationCheckpointing::none), 1e-12) == "");
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
  const std::vector<std::pair<Precision, at::ScalarType>> precisions = {{Precision::float32, at::kFloat},
                                                                        {Precision::bfloat16, at::kBFloat16},
                                                                        {Precision::bfloat16_mixed, at::kFloat},
                                                                        {Precision::float16, at::kHalf},
                                                                        {Precision::float16_mixed, at::kFloat}};
  const auto is_mixed = [](Precision precision) { return precision == Precision::bfloat16_mixed || precision == Precision::float16_mixed; };
  for (const std::string name : {"mlp", "gpt", "lstm", "attention", "unet"})
    for (const auto& [precision, dtype] : precisions) {
      if (name == "lstm" && is_mixed(precision)) continue;  // LibTorch's LSTM fails under autocast on some CPUs
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

// The ranges of its units have Python's names.
BOOST_AUTO_TEST_CASE(the_simple_profiler_sees_units) {
  levin::Trainer trainer({.session = with(levin::AutoStrategy{}), .max_steps = 3}, runtime(), 3);
  const auto profiler = std::make_shared<levin::SimpleProfiler>();
  trainer.add_profiler(profiler);
  const auto model = trainer.build<levin::ExportedModel>(levin::ExportedModelConfig{.file = levin::test::fixture("gpt.pt2")});
  FixtureData data("gpt");
  trainer.fit(*model, data);
  std::map<std::string, int64_t> calls;
  for (const auto& range : profiler->times()) calls[range.name] = range.calls;
  for (const std::string unit : {"blocks.0", "blocks.1"}) BOOST_TEST(calls["unit " + unit] == 3, unit);
}

// One of the submodules that the archive suggests cannot be a unit: rank 0 says so before the first step, and the other is one.
BOOST_AUTO_TEST_CASE(suggested_units_that_cannot_be_cut_are_warned_of) {
  const FolderOfRanks folder;
  const auto file = folder.path / "net.pt2";
  if (runtime().rank() == 0) {
    levin::test::EditedArchive edited(levin::test::fixture("gpt.pt2"));
    auto& record = edited["models/train.json"].bytes;
    auto json = nlohmann::ordered_json::parse(record);
    std::map<std::string, nlohmann::ordered_json*> metadata;
    for (auto& node : json["graph_module"]["graph"]["nodes"]) metadata[node["name"].get<std::string>()] = &node["metadata"];
    (*metadata.at("add_4"))["nn_module_stack"] = (*metadata.at("add_2"))["nn_module_stack"];  // blocks.0 ends behind blocks.1
    record = json.dump();
    std::ofstream(file, std::ios::binary) << edited.text();
  }
  MPI_Barrier(runtime().communicator());
  levin::MpiRuntime noisy(runtime().communicator());
  noisy.set_log(levin::Log::to_stderr(noisy.rank(), levin::LogLevel::warning));
  const levin::test::CapturedStderr captured;
  levin::Trainer trainer({.session = with(levin::AutoStrategy{}), .max_steps = 1}, noisy, 3);
  const auto model = trainer.build<levin::ExportedModel>(levin::ExportedModelConfig{.file = file});
  FixtureData data("gpt");
  trainer.fit(*model, data);
  BOOST_TEST(trainer.session().strategy().units().size() == 1u);
  const bool warned = captured.text().find("[exported] blocks.0 is not a unit: other modules run between") != std::string::npos;
  BOOST_TEST(warned == (runtime().rank() == 0), captured.text());
}

// As those of a model in C++.
BOOST_AUTO_TEST_CASE(a_plan_knows_the_units) {
  if (runtime().rank() > 0) return;
  levin::MpiRuntime alone(MPI_COMM_SELF);
  const auto describe = [&](const UnitPatterns& units) {
    levin::Session session(alone, with(levin::SingleDevice{}), 3);
    const auto model = session.build<levin::ExportedProgram>(levin::test::fixture("gpt.pt2"), units);
    return levin::describe_model(*model, {fixture_optimizer("adamw")}, {}, /*min_num_params=*/0);
  };
  const auto cut = describe({}), whole = describe(std::vector<std::string>());
  BOOST_REQUIRE(cut.units.size() == 3u);
  BOOST_TEST(cut.units[1].name == "blocks.0");
  BOOST_TEST(cut.units[2].name == "blocks.1");
  BOOST_TEST(whole.units.size() == 1u);
  BOOST_TEST(cut.numel() == whole.numel());
  for (const auto& parameter : cut.parameters)
    BOOST_TEST(parameter.unit == (parameter.name.starts_with("blocks.0.")   ? 1
                                  : parameter.name.starts_with("blocks.1.") ? 2
                                                                            : 0),
               parameter.name);
  const levin::Ranks four{.all = 4, .ranks_per_node = 4};
  const auto sharding = levin::resolve_strategy(fsdp(levin::ShareParameters::none), four);
  const auto gathers = [&](const levin::PlanModel& model) {
    const auto collectives = levin::plan_collectives(model, sharding, four, {}, /*steps=*/1).at(0);
    return std::count_if(collectives.begin(), collectives.end(),
                         [](const auto& collective) { return collective.op == levin::CollectiveOp::all_gather; });
  };
  BOOST_TEST(gathers(cut) >= gathers(whole) + 2);  // each unit's in the forward
}

BOOST_AUTO_TEST_SUITE_END()
