#include "levin/callbacks/model_checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "../trainer/toy.h"
#include "check_all_throw.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/early_stopping.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/optim/optimizer_memory.h"
#include "levin_test.h"
#include "mpi_calls.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::ModelCheckpoint;
using levin::ModelCheckpointConfig;

BOOST_AUTO_TEST_SUITE(callbacks_model_checkpoint)

namespace {

namespace fs = std::filesystem;

/// A training of some epochs of 5 steps.
struct Trained {
  Trained(const ModelCheckpointConfig& checkpoint_config, int64_t epochs, const levin::LoadFrom& from = {},
          const std::optional<levin::OptimizerSpec>& spec = {})
      : callback(std::make_shared<ModelCheckpoint>(checkpoint_config)),
        stopping(std::make_shared<levin::EarlyStopping>(levin::EarlyStoppingConfig{.patience = 100})),
        trainer(std::make_shared<levin::Trainer>(levin::TrainerConfig{.max_epochs = epochs}, runtime())) {
    trainer->add_callback(callback);
    trainer->add_callback(stopping);
    module = trainer->build<Toy>();
    if (spec) module->spec = *spec;
    trainer->fit(*module, data, from);
  }

  ToyData data;
  std::shared_ptr<ModelCheckpoint> callback;
  std::shared_ptr<levin::EarlyStopping> stopping;
  std::shared_ptr<levin::Trainer> trainer;
  std::shared_ptr<Toy> module;
};

/// On all ranks, when rank 0 has removed what is not kept.
std::vector<int64_t> steps_in(const fs::path& folder) {
  MPI_Barrier(runtime().communicator());
  std::vector<int64_t> steps;
  for (const auto& found : levin::list_checkpoints(folder).checkpoints) steps.push_back(found.manifest.step);
  return steps;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_program_without_the_command_line_resumes) {
  const FolderOfRanks folder;
  const ModelCheckpointConfig config{.dirpath = folder.path, .save_top_k = -1};
  const Trained first(config, 2);
  BOOST_TEST(first.callback->last_model_path() == folder.path / "step=000010");
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{5, 10}), boost::test_tools::per_element());
  auto newest = levin::newest_checkpoint(folder.path, first.trainer->session().communicator().cpu());
  BOOST_REQUIRE(newest.reader);
  const Trained second(config, 4, {newest.reader.get()});
  BOOST_TEST(second.trainer->report().steps == 10);
  BOOST_TEST(second.trainer->global_step() == 20);
  const FolderOfRanks other;
  const Trained unbroken({.dirpath = other.path, .in_background = false}, 4);
  BOOST_TEST(at::equal(unbroken.module->net->weight, second.module->net->weight));
  BOOST_TEST(unbroken.stopping->best_score() == second.stopping->best_score());
  BOOST_TEST(unbroken.stopping->wait_count() == second.stopping->wait_count());
  BOOST_TEST(steps_in(other.path) == (std::vector<int64_t>{15, 20}), boost::test_tools::per_element());

  ToyData data;
  levin::Trainer evaluating({}, runtime());
  const auto module = evaluating.build<Toy>();
  const auto values = evaluating.test(*module, data, {newest.reader.get()});
  BOOST_TEST(at::equal(module->net->weight, first.module->net->weight));
  BOOST_TEST(values.size() == 2u);
}

// By steps a metric that is logged by step and by epoch is that of the step, at an epoch's end that of the epoch.
BOOST_AUTO_TEST_CASE(a_metric_logged_by_step_and_epoch_is_monitored_by_its_plain_name) {
  struct Both : Toy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      log("score", static_cast<double>(trainer().global_step()), {.on_epoch = true});  // 0 to 4, on average 2
      return Toy::training_step(batch);
    }
  };
  for (const bool by_steps : {false, true}) {
    const FolderOfRanks folder;
    ModelCheckpointConfig config{.dirpath = folder.path, .filename = "{score:.1f}", .monitor = "score", .save_top_k = -1};
    if (by_steps) config.every_n_train_steps = levin::AutoCount{4};
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1, .log_every_n_steps = 1}, runtime());
    trainer.add_callback(std::make_shared<ModelCheckpoint>(config));
    const auto module = trainer.build<Both>();
    trainer.fit(*module, data);
    MPI_Barrier(runtime().communicator());
    const auto found = levin::list_checkpoints(folder.path).checkpoints;
    BOOST_REQUIRE(!found.empty());
    BOOST_TEST(found.front().path.filename() == (by_steps ? "step=000004-score=3.0" : "step=000005-score=2.0"));
    BOOST_TEST(found.front().manifest.fields.at("score") == (by_steps ? "3" : "2"));
  }
}

/// A checkpoint of a training whose val_loss is the step.
struct Described {
  std::string name;
  int64_t step;
  std::string score;
  bool operator==(const Described&) const = default;
};

std::vector<Described> described(const ModelCheckpointConfig& config, const levin::TrainerConfig& options) {
  struct Scored : Toy {
    void validation_step(const levin::Batch&) override { log("val_loss", static_cast<double>(trainer().global_step())); }
  };
  ToyData data({.global_batch_size = 8}, 48);  // six steps an epoch
  levin::Trainer trainer(options, runtime());
  trainer.add_callback(std::make_shared<ModelCheckpoint>(config));
  const auto module = trainer.build<Scored>();
  trainer.fit(*module, data);
  MPI_Barrier(runtime().communicator());
  std::vector<Described> found;
  for (const auto& [path, manifest] : levin::list_checkpoints(config.dirpath).checkpoints) {
    const auto score = manifest.fields.find("score");
    found.push_back({path.filename(), manifest.step, score == manifest.fields.end() ? "" : score->second});
  }
  return found;
}

BOOST_AUTO_TEST_CASE(a_checkpoint_by_steps_has_the_score_of_its_steps_validation) {
  const FolderOfRanks folder;
  const auto found = described({.dirpath = folder.path,
                                .filename = "{val_loss:.0f}",
                                .monitor = "val_loss",
                                .save_top_k = -1,
                                .every_n_train_steps = levin::AutoCount{2}},
                               {.max_epochs = 2, .val_check_interval = levin::Limit::batches(2)});
  std::vector<Described> expected;
  for (int64_t step = 2; step <= 12; step += 2)
    expected.push_back({fmt::format("step={:06}-val_loss={}", step, step), step, std::to_string(step)});
  BOOST_TEST((found == expected));
}

// The validation after the first of two micro-batches has the score of the step before.
BOOST_AUTO_TEST_CASE(a_validation_within_an_accumulation_is_followed_by_the_checkpoint_of_its_step) {
  const FolderOfRanks folder;
  const auto found = described({.dirpath = folder.path, .filename = "{epoch}-{val_loss:.0f}", .monitor = "val_loss", .save_top_k = -1},
                               {.max_epochs = 1, .accumulate_grad_batches = 2, .val_check_interval = levin::Limit::batches(3)});
  std::vector<Described> in_epoch;
  for (const auto& checkpoint : found)
    if (checkpoint.name.find("epoch=0") != std::string::npos) in_epoch.push_back(checkpoint);
  const std::vector<Described> expected{{"step=000002-epoch=0-val_loss=1", 2, "1"},
                                        {"step=000003-epoch=0-val_loss=3", 3, "3"},
                                        {"step=000005-epoch=0-val_loss=4", 5, "4"},
                                        {"step=000006-epoch=0-val_loss=6", 6, "6"}};
  BOOST_TEST((in_epoch == expected));
}

// The epoch's end requests nothing, so the first micro-batch of the next one must not ask for the same step again.
BOOST_AUTO_TEST_CASE(an_interval_of_steps_that_ends_with_an_epoch_makes_one_checkpoint) {
  const FolderOfRanks folder;
  const auto found = described({.dirpath = folder.path, .save_top_k = -1, .every_n_train_steps = levin::AutoCount{6}},
                               {.max_epochs = 2, .accumulate_grad_batches = 2});
  const std::vector<Described> expected{{"step=000006", 6, ""}, {"step=000012", 12, ""}};
  BOOST_TEST((found == expected));
}

BOOST_AUTO_TEST_CASE(a_checkpoint_at_an_epochs_end_has_the_name_of_the_epoch) {
  const FolderOfRanks folder;
  const auto found = described({.dirpath = folder.path, .filename = "{epoch}", .save_top_k = -1}, {.max_epochs = 2});
  const std::vector<Described> expected{{"step=000006-epoch=0", 6, ""}, {"step=000012-epoch=1", 12, ""}};
  BOOST_TEST((found == expected));
}

// Between a file for each node and one file, on ranks of several hosts or of one.
BOOST_AUTO_TEST_CASE(files_of_nodes_and_one_file) {
  const FolderOfRanks folder, other;
  const std::map<std::string, std::string> hints{{"striping_factor", "2"}};
  const ModelCheckpointConfig by_node{.dirpath = folder.path, .save_top_k = -1, .nodes_per_file = 1, .mpi_io_hints = hints},
      in_one{.dirpath = folder.path, .save_top_k = -1};
  const size_t opened = opened_files().size();
  const Trained first(by_node, 1);
  auto& host = first.trainer->session().communicator().cpu();
  const auto hosts = static_cast<size_t>(first.trainer->session().topology().hosts());
  const auto files = [&](int64_t step) { return levin::Manifest::read(folder.path / levin::Checkpoints::name_of_step(step)).files.size(); };
  BOOST_TEST(files(5) == hosts);
  if (runtime().rank() == 0) {
    BOOST_REQUIRE(opened_files().size() > opened);
    BOOST_TEST((opened_files().back().hints == hints));
  }
  CheckpointReader reader(folder.path / "step=000005", host);
  const Trained second(in_one, 2, {&reader});
  BOOST_TEST(files(10) == 1u);
  CheckpointReader ungrouped(folder.path / "step=000010", second.trainer->session().communicator().cpu());
  const Trained third(by_node, 3, {&ungrouped}), unbroken({.dirpath = other.path}, 3);
  BOOST_TEST(files(15) == hosts);
  BOOST_TEST(at::equal(unbroken.module->net->weight, third.module->net->weight));
}

template <class Optimizer, class Options>
levin::OptimizerSpec custom(const Options& options) {
  return levin::custom(
      [options](std::vector<at::Tensor> parameters) { return std::make_unique<Optimizer>(std::move(parameters), options); });
}

BOOST_AUTO_TEST_CASE(optimizers_of_libtorch_go_on) {
  namespace optim = torch::optim;
  const std::vector<levin::OptimizerSpec> specs{
      custom<optim::Adam>(optim::AdamOptions(0.05).amsgrad(true)), custom<optim::AdamW>(optim::AdamWOptions(0.05)),
      custom<optim::SGD>(optim::SGDOptions(0.01).momentum(0.9)), custom<optim::Adagrad>(optim::AdagradOptions(0.05).lr_decay(0.1)),
      custom<optim::RMSprop>(optim::RMSpropOptions(0.01).momentum(0.5).centered(true))};
  for (const auto& spec : specs) {
    const FolderOfRanks folder, other;
    const Trained first({.dirpath = folder.path}, 1, {}, spec);
    CheckpointReader reader(first.callback->last_model_path(), first.trainer->session().communicator().cpu());
    const Trained second({.dirpath = folder.path}, 3, {&reader}, spec), unbroken({.dirpath = other.path}, 3, {}, spec);
    BOOST_TEST(at::equal(unbroken.module->net->weight, second.module->net->weight));
    BOOST_TEST(at::equal(unbroken.module->net->bias, second.module->net->bias));
  }
}

/// SGD with momentum, by a class of a program's own.
class Heavy : public torch::optim::Optimizer {
 public:
  explicit Heavy(std::vector<at::Tensor> parameters)
      : Optimizer({torch::optim::OptimizerParamGroup(parameters)}, std::make_unique<torch::optim::SGDOptions>(0.01)) {
    for (const auto& parameter : parameters) momenta.emplace_back(parameter, at::zeros_like(parameter));
  }
  at::Tensor step(LossClosure) override {
    const at::NoGradGuard no_grad;
    const double lr = param_groups()[0].options().get_lr();
    for (auto& [parameter, momentum] : momenta) {
      momentum.mul_(0.9).add_(parameter.grad());
      parameter.sub_(momentum * lr);
    }
    return {};
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> momenta;
};

struct HeavyWithMemory : Heavy, levin::OptimizerMemory {
  using Heavy::Heavy;
  std::vector<std::pair<std::string, at::Tensor>> state_of(const at::Tensor& parameter) override {
    for (const auto& [member, momentum] : momenta)
      if (member.is_same(parameter)) return {{"momentum", momentum}};
    return {};
  }
};

template <class Optimizer>
levin::OptimizerSpec own() {
  return levin::custom([](std::vector<at::Tensor> parameters) { return std::make_unique<Optimizer>(std::move(parameters)); });
}

BOOST_AUTO_TEST_CASE(a_custom_optimizer_resumes_or_is_refused) {
  const FolderOfRanks folder, other;
  const auto spec = own<HeavyWithMemory>();
  const Trained first({.dirpath = folder.path}, 1, {}, spec);
  CheckpointReader reader(first.callback->last_model_path(), first.trainer->session().communicator().cpu());
  BOOST_TEST(reader.find("optimizer/custom/momentum/net.weight"));
  const Trained second({.dirpath = folder.path}, 3, {&reader}, spec), unbroken({.dirpath = other.path}, 3, {}, spec);
  BOOST_TEST(at::equal(unbroken.module->net->weight, second.module->net->weight));

  const FolderOfRanks none, weights;
  check_all_throw<levin::UsageError>([&] { Trained({.dirpath = none.path}, 1, {}, own<Heavy>()); },
                                     {"the custom optimizer Heavy remembers", "levin::OptimizerMemory", "save_weights_only"});
  BOOST_TEST(steps_in(none.path).empty());
  Trained({.dirpath = weights.path, .save_weights_only = true}, 1, {}, own<Heavy>());
  BOOST_TEST(steps_in(weights.path).size() == 1u);
}

/// A moving average of the parameters, as a program writes it: rank 0 keeps it, all ranks read.
struct MovingAverage : levin::Callback {
  void on_train_batch_end(const at::Tensor&, const levin::Batch&, int64_t) override {
    trainer().session().read_parameters([&](const std::string& name, const at::Tensor& value) {
      if (runtime().rank() != 0) return;
      auto& kept = average[name];
      kept = kept.defined() ? kept * 0.5 + value * 0.5 : value.clone();
    });
  }
  levin::StateDict state_dict() const override {
    levin::StateDict state;
    for (const auto& [name, value] : average) state.set(name, value);
    if (runtime().rank() == runtime().size() - 1 && runtime().size() > 1) state.set("of the last rank", at::ones({runtime().rank() + 7}));
    return state;
  }
  void load_state_dict(const levin::StateDict& state) override {
    for (const auto& [name, value] : state.values()) average[name] = std::get<at::Tensor>(value).clone();
  }
  std::map<std::string, at::Tensor> average;
};

BOOST_AUTO_TEST_CASE(a_callbacks_state_is_that_of_rank_0) {
  const levin::FSDP apart{.sharding = {.share_parameters = levin::ShareParameters::none}};
  for (const auto& strategy :
       {levin::StrategyConfig(levin::AutoStrategy{}), levin::StrategyConfig(levin::FSDP{}), levin::StrategyConfig(apart)}) {
    const FolderOfRanks folder, other;
    const auto train = [&](const fs::path& path, int64_t epochs, const levin::LoadFrom& from) {
      ToyData data;
      const auto average = std::make_shared<MovingAverage>();
      levin::Trainer trainer({.session = {.strategy = strategy}, .max_epochs = epochs}, runtime());
      trainer.add_callback(average);
      trainer.add_callback(std::make_shared<ModelCheckpoint>(ModelCheckpointConfig{.dirpath = path, .save_top_k = -1}));
      const auto module = trainer.build<Toy>();
      trainer.fit(*module, data, from);
      return average;
    };
    train(folder.path, 1, {});
    levin::Trainer trainer({}, runtime());
    CheckpointReader reader(folder.path / "step=000005", trainer.session().communicator().cpu());
    int64_t tensors = 0;
    for (const auto& tensor : reader.tensors())
      if (tensor.name.starts_with("callbacks/")) tensors++;
    BOOST_TEST(tensors == 2);
    const auto resumed = train(folder.path, 3, {&reader}), unbroken = train(other.path, 3, {});
    if (runtime().rank() != 0) continue;
    BOOST_TEST(unbroken->average.size() == 2u);
    for (const auto& [name, value] : unbroken->average) BOOST_TEST(at::equal(value, resumed->average.at(name)), name);
  }
}

/// Data that know how often they were asked for.
struct CountingData : ToyData {
  levin::DataLoaderSpec train_dataloader() override {
    asked++;
    order.push_back("train_dataloader");
    return ToyData::train_dataloader();
  }
  levin::StateDict state_dict() const override {
    levin::StateDict state;
    state.set("asked", asked);
    state.set("table", at::full({3}, static_cast<double>(asked)));
    return state;
  }
  void load_state_dict(const levin::StateDict& state) override {
    asked = state.get<int64_t>("asked");
    table = state.get<at::Tensor>("table");
    order.push_back("load_state_dict");
  }
  int64_t asked = 0;
  at::Tensor table;
  std::vector<std::string> order;
};

BOOST_AUTO_TEST_CASE(the_data_modules_state_is_restored) {
  const FolderOfRanks folder;
  const auto run = [&](int64_t epochs, CountingData& data, const levin::LoadFrom& from) {
    levin::Trainer trainer({.max_epochs = epochs}, runtime());
    trainer.add_callback(std::make_shared<ModelCheckpoint>(ModelCheckpointConfig{.dirpath = folder.path}));
    const auto module = trainer.build<Toy>();
    trainer.fit(*module, data, from);
    BOOST_TEST(!trainer.datamodule());
  };
  CountingData first, second, testing;
  run(1, first, {});
  BOOST_TEST(first.order == (std::vector<std::string>{"train_dataloader"}));
  levin::Trainer trainer({}, runtime());
  CheckpointReader reader(folder.path / "step=000005", trainer.session().communicator().cpu());
  BOOST_TEST(reader.find("data/table"));
  run(2, second, {&reader});
  BOOST_TEST(second.order == (std::vector<std::string>{"load_state_dict", "train_dataloader"}));
  BOOST_TEST(second.asked == 2);
  const auto module = trainer.build<Toy>();
  trainer.test(*module, testing, {&reader});
  BOOST_TEST(testing.order == (std::vector<std::string>{"load_state_dict"}));
  BOOST_TEST(at::equal(testing.table, at::ones({3})));
}

BOOST_AUTO_TEST_CASE(a_checkpoint_damaged_during_loading_is_replaced_by_another) {
  const FolderOfRanks folder, other;
  const Trained first({.dirpath = folder.path, .save_top_k = -1}, 3), unbroken({.dirpath = other.path}, 4);
  auto& host = first.trainer->session().communicator().cpu();
  const levin::CheckpointReaderOptions later{.verify_on_read = levin::read_once_by_trainers()};
  const auto newest = levin::newest_checkpoint(folder.path, host, later);
  BOOST_REQUIRE(newest.reader);
  BOOST_TEST(newest.reader->manifest().step == 15);
  host.barrier();
  if (host.rank() == 0)  // the last of the model's bytes
    for (const auto& set : newest.reader->manifest().datasets)
      if (set.name == "model/net.weight") {
        std::fstream file(newest.reader->path() / "state.h5", std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(set.offset + set.bytes - 1));
        file.put('x');
      }
  host.barrier();
  std::unique_ptr<CheckpointReader> another;
  levin::LoadFrom from{newest.reader.get()};
  check_all_throw<levin::DataError>([&] { Trained({.dirpath = folder.path, .save_top_k = -1}, 4, from); },
                                    {"model/net.weight", "is corrupt"});
  from.instead = [&](const CheckpointReader& damaged, const std::string& why) {
    BOOST_TEST(why.find("is corrupt") != std::string::npos);
    another = levin::newest_checkpoint(damaged.path().parent_path(), host, {}, {damaged.path()}).reader;
    return another.get();
  };
  const Trained second({.dirpath = folder.path, .save_top_k = -1}, 4, from);
  BOOST_REQUIRE(another);
  BOOST_TEST(another->manifest().step == 10);
  BOOST_TEST(second.trainer->report().steps == 10);
  BOOST_TEST(at::equal(unbroken.module->net->weight, second.module->net->weight));
}

BOOST_AUTO_TEST_CASE(by_steps_and_by_time) {
  const FolderOfRanks by_steps, by_time;
  const Trained steps({.dirpath = by_steps.path, .save_top_k = -1, .every_n_train_steps = levin::AutoCount{3}}, 2);
  BOOST_TEST(steps_in(by_steps.path) == (std::vector<int64_t>{3, 6, 9, 10}), boost::test_tools::per_element());
  const Trained time({.dirpath = by_time.path, .save_top_k = -1, .train_time_interval = levin::Seconds{1e-6}}, 1);
  const auto found = steps_in(by_time.path);
  BOOST_TEST(found.size() >= 3u);  // asked for at a step's start, made at its end
}

BOOST_AUTO_TEST_CASE(weights_alone_cannot_be_resumed) {
  const FolderOfRanks folder;
  const Trained first({.dirpath = folder.path, .save_weights_only = true}, 1);
  CheckpointReader reader(folder.path / "step=000005", first.trainer->session().communicator().cpu());
  for (const auto& tensor : reader.tensors()) BOOST_TEST(tensor.name.starts_with("model/"));
  check_all_throw<levin::DataError>([&] { Trained({.dirpath = folder.path}, 2, {&reader}); }, {"contains weights only"});
}

BOOST_AUTO_TEST_CASE(a_failed_save_is_a_warning_and_the_third_an_error) {
  const FolderOfRanks folder;
  const auto blocked = folder.path / "checkpoints";
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  const auto module = trainer.build<Toy>();
  ToyData data;
  trainer.add_callback(std::make_shared<ModelCheckpoint>(
      ModelCheckpointConfig{.dirpath = blocked, .every_n_train_steps = levin::AutoCount{1}, .in_background = false}));
  int64_t steps = 0;
  module->in_step = [&] {
    if (++steps != 3 || runtime().rank() != 0) return;
    fs::remove_all(blocked);
    std::ofstream(blocked) << "a file in its place";
  };
  check_all_throw<levin::IoError>([&] { trainer.fit(*module, data); }, {"[checkpoint]"});
  BOOST_TEST(trainer.global_step() == 5);
}

// Between the commit of step 3 and the removal of old checkpoints the folder becomes unreadable. Rank 0, which alone lists it, does not
// count that as a failed save: those of steps 6 and 9 fail on all ranks, and a third would end the training.
BOOST_AUTO_TEST_CASE(a_folder_that_rank_0_cannot_list_is_a_warning) {
  const FolderOfRanks folder;
  const auto blocked = folder.path / "checkpoints", hidden = folder.path / "hidden";
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  const auto module = trainer.build<Toy>();
  ToyData data;
  trainer.add_callback(
      std::make_shared<ModelCheckpoint>(ModelCheckpointConfig{.dirpath = blocked, .every_n_train_steps = levin::AutoCount{3}}));
  int64_t steps = 0;
  bool committed = false;
  module->in_step = [&] {
    steps++;
    if (steps == 4) std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the writes end; the step's end begins the commit
    if (runtime().rank() != 0) return;
    if (steps == 5) {
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(5);
      while (!(committed = levin::read_last(blocked) == blocked / "step=000003") && std::chrono::steady_clock::now() < patience)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      fs::rename(blocked, hidden);
      fs::create_symlink("checkpoints", blocked);  // to itself
    }
    if (steps == 10) {
      fs::remove(blocked);
      fs::rename(hidden, blocked);
    }
  };
  trainer.fit(*module, data);
  if (runtime().rank() == 0) BOOST_TEST(committed);
  BOOST_TEST(trainer.global_step() == 10);
  BOOST_TEST(steps_in(blocked) == (std::vector<int64_t>{3, 10}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_end_of_a_training_is_kept) {
  const FolderOfRanks folder, weights, none;
  const Trained few({.dirpath = folder.path, .save_top_k = -1, .every_n_epochs = 2}, 3);
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{10, 15}), boost::test_tools::per_element());
  const Trained alone({.dirpath = weights.path, .save_weights_only = true, .every_n_train_steps = levin::AutoCount{100}}, 1);
  BOOST_TEST(steps_in(weights.path) == (std::vector<int64_t>{5}), boost::test_tools::per_element());
  const Trained off({.dirpath = none.path, .save_top_k = 0}, 1);
  BOOST_TEST(steps_in(none.path).empty());
}

BOOST_AUTO_TEST_CASE(metrics_of_a_score_and_of_names_are_required) {
  const FolderOfRanks folder;
  levin::Trainer trainer({.max_steps = 1}, runtime());
  const auto checkpoint = std::make_shared<ModelCheckpoint>(
      ModelCheckpointConfig{.dirpath = folder.path, .filename = "{epoch}-{step}-{val_loss:.2f}", .monitor = "mean_index"});
  trainer.add_callback(checkpoint);
  const auto module = trainer.build<Toy>();
  ToyData data;
  trainer.fit(*module, data);
  const std::vector<std::string> required{"mean_index", "val_loss"};
  BOOST_TEST(checkpoint->required_metrics() == required, boost::test_tools::per_element());
}

// Validation that is set to come, and has no data.
BOOST_AUTO_TEST_CASE(without_validation_each_epoch_has_a_checkpoint) {
  const auto trained = [&](levin::TrainerConfig options, const std::optional<levin::EarlyStoppingConfig>& stopping = {}) {
    const FolderOfRanks folder;
    options.max_epochs = 3;
    options.limit_val_batches = levin::Limit::batches(0);
    levin::Trainer trainer(options, runtime());
    trainer.add_callback(std::make_shared<ModelCheckpoint>(ModelCheckpointConfig{.dirpath = folder.path, .save_top_k = -1}));
    if (stopping) trainer.add_callback(std::make_shared<levin::EarlyStopping>(*stopping));
    const auto module = trainer.build<Toy>();
    ToyData data;
    trainer.fit(*module, data);
    return steps_in(folder.path);
  };
  const std::vector<int64_t> each{5, 10, 15};
  BOOST_TEST(trained({.val_check_interval = levin::Limit::batches(2)}) == each, boost::test_tools::per_element());
  BOOST_TEST(trained({.check_val_every_n_epoch = 2}) == each, boost::test_tools::per_element());
  check_all_throw<levin::ConfigError>([&] { trained({.check_val_every_n_epoch = 2}, levin::EarlyStoppingConfig{.monitor = "nothing"}); },
                                      {"\"nothing\"", "was not logged"});
}

BOOST_AUTO_TEST_CASE(going_back_sets_the_later_checkpoints_aside) {
  const FolderOfRanks folder, second;
  const ModelCheckpointConfig config{.dirpath = folder.path, .save_top_k = -1};
  const Trained first(config, 4);
  auto& host = first.trainer->session().communicator().cpu();
  CheckpointReader at_five(folder.path / "step=000005", host);
  {  // a start that is refused changes nothing
    levin::Trainer trainer({.max_epochs = 3}, runtime(), /*seed=*/1);
    trainer.add_callback(std::make_shared<ModelCheckpoint>(config));
    const auto module = trainer.build<Toy>();
    ToyData data;
    check_all_throw<levin::ConfigError>([&] { trainer.fit(*module, data, {&at_five}); }, {"seed"});
  }
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{5, 10, 15, 20}), boost::test_tools::per_element());
  const Trained back(config, 2, {&at_five});
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{5, 10}), boost::test_tools::per_element());
  BOOST_TEST(steps_in(folder.path / "abandoned-1") == (std::vector<int64_t>{10, 15, 20}), boost::test_tools::per_element());
  const Trained restarted(config, 1);
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{5}), boost::test_tools::per_element());
  BOOST_TEST(steps_in(folder.path / "abandoned-2") == (std::vector<int64_t>{5, 10}), boost::test_tools::per_element());
  if (runtime().rank() == 0) BOOST_TEST(levin::read_last(folder.path).value() == folder.path / "step=000005");
}

BOOST_AUTO_TEST_CASE(the_best_interval) {
  using levin::Seconds;
  const auto best = [](double cost, double mtbf) { return ModelCheckpoint::best_interval(Seconds{cost}, Seconds{mtbf}).value; };
  BOOST_TEST(best(10, 86400) == 1307.9, boost::test_tools::tolerance(1e-3));  // Young: sqrt(2 * 10 * 86400) = 1314.5
  BOOST_TEST(best(0, 86400) == 0.0);
  BOOST_TEST(best(1000, 100) == 100.0);  // more than can be done in time
  // By the expected run time per work done with failures at that rate, no interval near it is better.
  const auto time_for_work = [](double interval, double cost, double mtbf) {
    return mtbf * (std::exp((interval + cost) / mtbf) - 1) / interval;
  };
  const double found = best(60, 3600);
  for (const double other : {0.9 * found, 1.1 * found}) BOOST_TEST(time_for_work(found, 60, 3600) < time_for_work(other, 60, 3600));
}

BOOST_AUTO_TEST_CASE(an_automatic_interval) {
  const FolderOfRanks folder;
  const Trained trained({.dirpath = folder.path, .every_n_train_steps = levin::AutoCount{}}, 2);
  BOOST_TEST(steps_in(folder.path) == (std::vector<int64_t>{10}),
             boost::test_tools::per_element());  // the end's: it is over before the first is due
}

BOOST_AUTO_TEST_CASE(names) {
  const levin::NamedValues values{{"val_loss", 0.12345}, {"val/acc", 0.5}};
  const auto named = [&](const std::string& filename, bool insert = true) {
    return ModelCheckpoint::format_name(filename, values, 3, 400, insert);
  };
  BOOST_TEST(named("{epoch}-{val_loss:.2f}") == "epoch=3-val_loss=0.12");
  BOOST_TEST(named("{epoch:02d}-{step:06d}", false) == "03-000400");
  BOOST_TEST(named("best {val/acc:.1f}") == "best val_acc=0.5");
  BOOST_TEST(named("plain") == "plain");
  check_throws<levin::ConfigError>([&] { named("{loss}"); }, {"{loss}", "val_loss"});
  check_throws<levin::ConfigError>([&] { named("{epoch:.2f}"); }, {"{epoch:.2f}"});
  check_throws<levin::ConfigError>([&] { named("{epoch"); }, {"without a }"});
}

BOOST_AUTO_TEST_CASE(bad_configs) {
  const auto refused = [](const ModelCheckpointConfig& config, const std::string& part) {
    check_throws<levin::ConfigError>([&] { ModelCheckpoint{config}; }, {part});
  };
  refused({.save_top_k = 2}, "without a monitor");
  refused({.every_n_train_steps = levin::AutoCount{1}, .every_n_epochs = 1}, "exclude each other");
  for (const std::string& filename :
       std::vector<std::string>{".{step}", "abandoned-{step}", "{step}" + std::string(250, 'x'), "{val_loss:.200f}", "a\nb"})
    refused({.filename = filename}, "not valid for checkpoints");
  refused({.filename = "{val_loss:d}"}, "{val_loss:d}");
  refused({.filename = "{step:q}"}, "{step:q}");
  refused({.filename = "{val_loss"}, "a { without a }");
  refused({.filename = "val_loss}"}, "a } without a {");
  const FolderOfRanks folder;
  check_all_throw<levin::ConfigError>([&] { Trained({}, 1); }, {"no folder"});
  check_all_throw<levin::ConfigError>([&] { Trained({.dirpath = folder.path, .monitor = "other"}, 1); }, {"\"other\"", "val_loss"});
  // When all metrics are known, not when the first checkpoint is due.
  const auto trained_steps = [&](const ModelCheckpointConfig& config, const std::string& part) {
    levin::Trainer trainer({.max_epochs = 9}, runtime());
    trainer.add_callback(std::make_shared<ModelCheckpoint>(config));
    const auto module = trainer.build<Toy>();
    ToyData data;
    check_all_throw<levin::ConfigError>([&] { trainer.fit(*module, data); }, {part});
    return trainer.global_step();
  };
  BOOST_TEST(trained_steps({.dirpath = folder.path, .monitor = "other", .every_n_epochs = 5}, "\"other\"") == 5);
  BOOST_TEST(trained_steps({.dirpath = folder.path, .filename = "{other}", .every_n_train_steps = levin::AutoCount{40}}, "{other}") == 5);
}

BOOST_AUTO_TEST_SUITE_END()
