#include "levin/trainer/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/rand_like.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <thread>

#include "captured_stderr.h"
#include "check_all_throw.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/device/accelerator.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::Limit;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_trainer)

// Each of these is the test of the TrainerConfig field that it is named after; tests/trainer/trainer_config.cpp checks that none is
// missing. 40 training samples in steps of 8 are 5 steps an epoch; 11 validation samples are 2 batches.

BOOST_AUTO_TEST_CASE(max_epochs) {
  ToyData data;
  const auto two = fit({.max_epochs = 2}, data);
  BOOST_TEST(two.trainer->global_step() == 10);
  BOOST_TEST(two.trainer->current_epoch() == 2);
  BOOST_TEST(two.trainer->report().samples == 80);
  BOOST_TEST(fit({.max_epochs = 0}, data).trainer->global_step() == 0);
}

// Asks for a stop in the first batch, on the last rank.
struct StopEarly : levin::Callback {
  explicit StopEarly(levin::StopReason why) : reason(why) {}
  void on_train_batch_start(const levin::Batch&, int64_t) override {
    if (runtime().rank() == runtime().size() - 1) trainer().session().request_stop(reason);
  }
  levin::StopReason reason;
};

levin::Trainer& stopped(levin::Trainer& trainer, levin::StopReason reason = levin::StopReason::requested, int validation_steps = -1) {
  ToyData data;
  trainer.add_callback(std::make_shared<StopEarly>(reason));
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  if (validation_steps >= 0) BOOST_TEST(module->calls["validation_step"] == validation_steps);
  return trainer;
}

// As in Lightning: what a training ends with has been validated.
BOOST_AUTO_TEST_CASE(a_stop_validates_unless_a_signal_asked_for_it) {
  const TrainerConfig config{.max_epochs = 5, .num_sanity_val_steps = 0};
  levin::Trainer requested(config, runtime()), terminated(config, runtime());
  BOOST_TEST(stopped(requested, levin::StopReason::requested, 2).global_step() == 1);
  BOOST_TEST(stopped(terminated, levin::StopReason::terminated, 0).global_step() == 1);
}

BOOST_AUTO_TEST_CASE(min_epochs) {
  levin::Trainer two({.max_epochs = 5, .min_epochs = 2}, runtime()), none({.max_epochs = 5}, runtime());
  BOOST_TEST(stopped(two).global_step() == 10);
  BOOST_TEST(stopped(none).global_step() == 1);
  levin::Trainer terminated({.max_epochs = 5, .min_epochs = 2}, runtime());
  BOOST_TEST(stopped(terminated, levin::StopReason::terminated).global_step() == 1);  // a signal waits for nothing
}

BOOST_AUTO_TEST_CASE(min_steps) {
  levin::Trainer seven({.max_epochs = 5, .min_steps = 7}, runtime()), two({.max_epochs = 5, .min_steps = 2}, runtime());
  BOOST_TEST(stopped(seven).global_step() == 7);
  BOOST_TEST(stopped(two).global_step() == 5);  // min_steps alone means an epoch, too
  levin::Trainer both({.max_epochs = 5, .min_epochs = 0, .min_steps = 2}, runtime());
  BOOST_TEST(stopped(both).global_step() == 2);
}

BOOST_AUTO_TEST_CASE(max_time) {
  ToyData data;
  const auto slow = [](Toy& toy) { toy.in_step = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }; };
  const auto fitted = fit({.max_time = levin::Seconds{0.1}}, data, slow);
  const double steps = static_cast<double>(fitted.trainer->global_step());
  BOOST_TEST(steps > 2);
  BOOST_TEST(steps < 25);
  BOOST_TEST(over_ranks(fitted.trainer->session(), steps) == steps * runtime().size());
  BOOST_TEST(fitted.trainer->report().stop_reason == "max_time is over");
  BOOST_TEST(fit({.max_epochs = 2, .min_epochs = 1, .max_time = levin::Seconds{0.001}}, data, slow).trainer->global_step() == 5);
}

BOOST_AUTO_TEST_CASE(overfit_batches) {
  ToyData data;
  const auto fitted = fit({.max_epochs = 2, .overfit_batches = Limit::batches(1), .num_sanity_val_steps = 0}, data);
  BOOST_TEST(fitted.trainer->global_step() == 2);
  double trained = 0, evaluated = 0;
  for (int64_t index : fitted.module->trained_on) trained += static_cast<double>(index);
  for (int64_t index : fitted.module->evaluated_on) evaluated += static_cast<double>(index);
  BOOST_TEST(over_ranks(fitted.trainer->session(), trained) == 2 * 28);  // samples 0 to 7 in each epoch, though shuffle is set
  BOOST_TEST(over_ranks(fitted.trainer->session(), evaluated) == 2 * 28);
  BOOST_TEST(fit({.max_epochs = 1, .overfit_batches = Limit::fraction(0.6)}, data).trainer->global_step() == 3);
}

BOOST_AUTO_TEST_CASE(num_nodes) {
  ToyData data;
  const int hosts = levin::Topology::discover(runtime()).hosts();
  BOOST_TEST(fit({.num_nodes = {hosts}, .max_epochs = 1}, data).trainer->global_step() == 5);
  check_throws<levin::ConfigError>(
      [&] { levin::Trainer({.num_nodes = {hosts + 1}}, runtime()); },
      {fmt::format("num_nodes is {}", hosts + 1), fmt::format("run on {}", hosts), "mpirun -n", fmt::format("srun -N {}", hosts + 1)});
}

BOOST_AUTO_TEST_CASE(deterministic) {
  ToyData data;
  const auto ask = [] { at::globalContext().alertNotDeterministic("the toy"); };
  using levin::Deterministic;
  TrainerConfig config{.max_steps = 1, .deterministic = Deterministic::yes};
  fit(config, data, [&](Toy& toy) { toy.in_step = [&] { BOOST_CHECK_THROW(ask(), c10::Error); }; });
  BOOST_TEST(!at::globalContext().deterministicAlgorithms());  // as it was
  config.deterministic = Deterministic::warn;
  bool warned = false;
  fit(config, data, [&](Toy& toy) { toy.in_step = [&] { warned = at::globalContext().deterministicAlgorithmsWarnOnly(); }; });
  BOOST_TEST(warned);
  config.deterministic = Deterministic::no;
  fit(config, data, [&](Toy& toy) { toy.in_step = ask; });
}

BOOST_AUTO_TEST_CASE(benchmark) {
  ToyData data;
  auto& context = at::globalContext();
  const auto in_step = [&](const TrainerConfig& config) {
    bool value = false;
    fit(config, data, [&](Toy& toy) { toy.in_step = [&] { value = context.benchmarkCuDNN(); }; });
    return value;
  };
  BOOST_TEST(!in_step({.max_steps = 1}));
  BOOST_TEST(in_step({.max_steps = 1, .benchmark = true}));
  BOOST_TEST(!context.benchmarkCuDNN());  // as it was
  context.setBenchmarkCuDNN(true);
  BOOST_TEST(in_step({.max_steps = 1}));
  BOOST_TEST(!in_step({.max_steps = 1, .benchmark = false}));
  BOOST_TEST(!in_step({.max_steps = 1, .deterministic = levin::Deterministic::yes}));
  BOOST_TEST(context.benchmarkCuDNN());
  context.setBenchmarkCuDNN(false);
}

BOOST_AUTO_TEST_CASE(matmul_precision) {
  ToyData data;
  auto& context = at::globalContext();
  const auto in_step = [&](std::optional<levin::MatmulPrecision> precision) {
    std::optional<at::Float32MatmulPrecision> value;
    fit({.max_steps = 1, .matmul_precision = precision}, data,
        [&](Toy& toy) { toy.in_step = [&] { value = context.float32MatmulPrecision(); }; });
    return *value;
  };
  using at::Float32MatmulPrecision, levin::MatmulPrecision;
  BOOST_TEST(bool(in_step(MatmulPrecision::medium) == Float32MatmulPrecision::MEDIUM));
  BOOST_TEST(bool(context.float32MatmulPrecision() == Float32MatmulPrecision::HIGHEST));  // as it was
  BOOST_TEST(bool(in_step({}) == Float32MatmulPrecision::HIGHEST));
  context.setFloat32MatmulPrecision("high");
  BOOST_TEST(bool(in_step({}) == Float32MatmulPrecision::HIGH));
  BOOST_TEST(bool(in_step(MatmulPrecision::highest) == Float32MatmulPrecision::HIGHEST));
  BOOST_TEST(bool(context.float32MatmulPrecision() == Float32MatmulPrecision::HIGH));
  context.setFloat32MatmulPrecision("highest");
}

BOOST_AUTO_TEST_CASE(detect_anomaly) {
  struct Broken : Toy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      return Toy::training_step(batch) + at::sqrt(net->weight.sum() * 0) * 0;  // the root's gradient is 0 times infinity
    }
  };
  const auto run = [](bool detect) {
    ToyData data;
    levin::Trainer trainer({.max_steps = 1, .detect_anomaly = detect}, runtime());
    const auto module = trainer.build<Broken>();
    trainer.fit(*module, data);
  };
  run(false);
  check_throws<std::exception>([&] { run(true); }, {"SqrtBackward0", "nan"});
  run(false);
}

BOOST_AUTO_TEST_CASE(barebones) {
  ToyData data;
  const auto fitted = fit({.max_epochs = 1, .barebones = true}, data);
  BOOST_TEST(fitted.trainer->global_step() == 5);
  BOOST_TEST(fitted.module->calls["validation_step"] == 2);  // no sanity check
  BOOST_TEST(fitted.logger->rows.empty());
  BOOST_TEST(fitted.trainer->report().metrics.empty());
  BOOST_TEST(!*fitted.trainer->config().enable_progress_bar);
  BOOST_TEST(!*fitted.trainer->config().enable_model_summary);
}

BOOST_AUTO_TEST_CASE(max_steps) {
  ToyData data;
  BOOST_TEST(fit({.max_steps = 7}, data).trainer->global_step() == 7);
  BOOST_TEST(fit({.max_epochs = 1, .max_steps = 7}, data).trainer->global_step() == 5);
}

BOOST_AUTO_TEST_CASE(devices) {
  const int ranks = runtime().size();
  ToyData data;
  BOOST_TEST(fit({.devices = {ranks}, .max_epochs = 1}, data).trainer->global_step() == 5);
  check_throws<levin::ConfigError>([&] { levin::Trainer({.devices = {ranks + 1}}, runtime()); },
                                   {"devices is " + std::to_string(ranks + 1), "mpirun -n", "srun -n"});
}

BOOST_AUTO_TEST_CASE(limit_train_batches) {
  ToyData data;
  BOOST_TEST(fit({.max_epochs = 1, .limit_train_batches = Limit::batches(3)}, data).trainer->global_step() == 3);
  BOOST_TEST(fit({.max_epochs = 1, .limit_train_batches = Limit::fraction(0.4)}, data).trainer->global_step() == 2);
  BOOST_TEST(fit({.limit_train_batches = Limit::batches(0)}, data).trainer->global_step() == 0);
}

BOOST_AUTO_TEST_CASE(limit_val_batches) {
  ToyData data;
  BOOST_TEST(
      fit({.max_epochs = 1, .limit_val_batches = Limit::batches(1), .num_sanity_val_steps = 0}, data).module->calls["validation_step"] ==
      1);
  BOOST_TEST(fit({.max_epochs = 1, .limit_val_batches = Limit::batches(0)}, data).module->calls["validation_step"] == 0);
  check_all_throw<levin::ConfigError>([&] { fit({.limit_val_batches = Limit::fraction(0.4)}, data); },
                                      {"limit_val_batches is 0.4", "2 batches", "at least 0.5"});
}

BOOST_AUTO_TEST_CASE(limit_test_batches) {
  ToyData data;
  const auto fitted = fit({.max_epochs = 0, .limit_test_batches = Limit::batches(1), .num_sanity_val_steps = 0}, data);
  fitted.trainer->test(*fitted.module, data);
  BOOST_TEST(fitted.module->calls["validation_step"] == 1);  // test_step is validation_step by default
}

BOOST_AUTO_TEST_CASE(limit_predict_batches) {
  ToyData data;
  const auto fitted = fit({.max_epochs = 0, .limit_predict_batches = Limit::batches(1), .num_sanity_val_steps = 0}, data);
  fitted.trainer->predict(*fitted.module, data);
  BOOST_TEST(fitted.module->calls["predict_step"] == 1);
}

BOOST_AUTO_TEST_CASE(fast_dev_run) {
  ToyData data;
  const auto fitted = fit({.fast_dev_run = {2}}, data);
  BOOST_TEST(fitted.trainer->global_step() == 2);
  BOOST_TEST(fitted.module->calls["validation_step"] == 2);
  BOOST_TEST(fitted.logger->rows.empty());
}

BOOST_AUTO_TEST_CASE(accumulate_grad_batches) {
  ToyData data({.global_batch_size = 8}, 42);
  const auto fitted = fit({.max_epochs = 1, .accumulate_grad_batches = 2}, data);
  BOOST_TEST(fitted.trainer->global_step() == 6);  // 5 of 8 samples and one of 2
  BOOST_TEST(fitted.trainer->report().samples == 42);
  ToyData plain({.global_batch_size = 8}, 42);
  const auto whole = fit({.max_epochs = 1}, plain);
  BOOST_TEST(at::allclose(whole.module->net->weight, fitted.module->net->weight, 1e-4, 1e-5));
}

BOOST_AUTO_TEST_CASE(val_check_interval) {
  ToyData data;
  BOOST_TEST(
      fit({.max_epochs = 1, .val_check_interval = Limit::batches(2), .num_sanity_val_steps = 0}, data).module->calls["validation_step"] ==
      4);
  BOOST_TEST(fit({.max_epochs = 1, .val_check_interval = Limit::fraction(0.2), .num_sanity_val_steps = 0}, data)
                 .module->calls["validation_step"] == 10);
  check_all_throw<levin::ConfigError>([&] { fit({.max_epochs = 1, .val_check_interval = Limit::batches(6)}, data); },
                                      {"val_check_interval is 6", "5"});
}

// Every rank sleeps, and validates at the same batches as the others.
BOOST_AUTO_TEST_CASE(val_check_interval_as_time) {
  struct Noting : Toy {
    void on_validation_start() override { at.push_back(calls["training_step"]); }
    std::vector<int> at;
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 4, .val_check_interval = levin::Seconds{0.03}, .num_sanity_val_steps = 0}, runtime());
  const auto module = trainer.build<Noting>();
  module->in_step = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  trainer.fit(*module, data);
  BOOST_REQUIRE(module->at.size() >= 2u);
  BOOST_TEST(module->at.size() < 20u);  // of 20 batches; a busy machine takes longer for one
  double weighted = 0;
  for (size_t i = 0; i < module->at.size(); i++) weighted += static_cast<double>(i + 1) * module->at[i];
  BOOST_TEST(over_ranks(trainer.session(), weighted) == weighted * runtime().size());
}

BOOST_AUTO_TEST_CASE(check_val_every_n_epoch) {
  ToyData data;
  // Batches are counted over the epochs: after 4, 8, … of 15.
  BOOST_TEST(fit({.max_epochs = 3, .val_check_interval = Limit::batches(4), .check_val_every_n_epoch = {}, .num_sanity_val_steps = 0}, data)
                 .module->calls["validation_step"] == 6);
  BOOST_TEST(fit({.max_epochs = 3, .val_check_interval = Limit::batches(7), .check_val_every_n_epoch = {}, .num_sanity_val_steps = 0}, data)
                 .module->calls["validation_step"] == 4);
  BOOST_TEST(fit({.max_epochs = 5, .check_val_every_n_epoch = 2, .num_sanity_val_steps = 0}, data).module->calls["validation_step"] == 4);
}

BOOST_AUTO_TEST_CASE(num_sanity_val_steps) {
  ToyData data;
  BOOST_TEST(fit({.max_epochs = 0, .num_sanity_val_steps = 1}, data).module->calls["validation_step"] == 1);
  const auto all = fit({.max_epochs = 0, .num_sanity_val_steps = -1}, data);
  BOOST_TEST(all.module->calls["validation_step"] == 2);
  BOOST_TEST(all.logger->rows.empty());
}

BOOST_AUTO_TEST_CASE(log_every_n_steps) {
  ToyData data;
  data.val = nullptr;
  const auto fitted = fit({.max_epochs = 2, .log_every_n_steps = 3}, data);
  if (runtime().rank() == 0) {
    BOOST_REQUIRE(fitted.logger->rows.size() == 3u);
    BOOST_TEST(fitted.logger->rows[1].step == 5);
    BOOST_TEST(fitted.logger->rows[1].epoch == 1);
    BOOST_TEST(fitted.logger->rows[1].values[0].first == "train_loss");
  } else {
    BOOST_TEST(fitted.logger->rows.empty());
  }
}

BOOST_AUTO_TEST_CASE(callbacks) {
  static int64_t begun;
  begun = 0;
  struct Counts : levin::Callback {
    void on_train_epoch_start() override { begun++; }
  };
  levin::CallbackRegistry registry;
  registry.add<Counts>("counts");
  levin::TrainerConfig config{.max_epochs = 3};
  config.callbacks.offer(registry);
  auto named = levin::ConfigValue::map();
  named.add("callbacks", levin::ConfigValue::scalar("counts"));
  levin::read_config(config, named);
  ToyData data;
  const auto fitted = fit(config, data);
  BOOST_TEST(begun == 3);
  BOOST_TEST(fitted.trainer->count_callbacks<Counts>() == 1);
}

BOOST_AUTO_TEST_CASE(logger) {
  ToyData data;
  BOOST_TEST(fit({.max_epochs = 2, .log_every_n_steps = 1, .logger = false}, data).logger->rows.empty());
}

BOOST_AUTO_TEST_CASE(test_after_fit) {
  ToyData data;
  const auto fitted = fit({.max_epochs = 0, .num_sanity_val_steps = 0, .test_after_fit = true}, data);
  BOOST_TEST(fitted.module->calls["validation_step"] == 2);
}

BOOST_AUTO_TEST_CASE(strategy) {
  ToyData data;
  TrainerConfig config{.max_epochs = 1};
  config.session.strategy = levin::DDP{levin::ShareParameters::none};
  const auto fitted = fit(config, data);
  BOOST_TEST(fitted.trainer->session().strategy().describe() ==
             (runtime().size() > 1 ? "ddp, a private copy of the parameters a rank" : "ddp, alone"));
  BOOST_TEST(at::allclose(fitted.module->net->weight, fit({.max_epochs = 1}, data).module->net->weight));
}

BOOST_AUTO_TEST_CASE(accelerator) {
  TrainerConfig config;
  config.session.accelerator = "abacus";
  check_throws<levin::ConfigError>([&] { levin::Trainer(config, runtime()); }, {"\"abacus\"", "cpu"});
}

BOOST_AUTO_TEST_CASE(gradient_clip_val) {
  ToyData data;
  TrainerConfig config{.max_epochs = 1};
  config.session.gradient_clip_val = 1e-6;
  const auto fitted = fit(config, data);
  const auto still = fit({.max_epochs = 0}, data);
  BOOST_TEST(at::allclose(fitted.module->net->weight, still.module->net->weight, 0, 1e-6));
  BOOST_TEST(fitted.trainer->session().last_grad_norm() > 1e-3);
}

// As Lightning: no clipping.
BOOST_AUTO_TEST_CASE(gradient_clip_val_of_0) {
  ToyData data;
  const auto free = fit({.max_epochs = 1}, data);
  for (const auto algorithm : {levin::ClipAlgorithm::norm, levin::ClipAlgorithm::value}) {
    TrainerConfig config{.max_epochs = 1};
    config.session.gradient_clip_val = 0;
    config.session.gradient_clip_algorithm = algorithm;
    BOOST_TEST(at::equal(fit(config, data).module->net->weight, free.module->net->weight));
  }
  for (const double bad : {-1.0, std::nan("")}) {
    TrainerConfig config;
    config.session.gradient_clip_val = bad;
    check_throws<levin::ConfigError>([&] { levin::Trainer(config, runtime()); }, {"gradient_clip_val"});
  }
}

BOOST_AUTO_TEST_CASE(gradient_clip_algorithm) {
  ToyData data;
  TrainerConfig config{.max_epochs = 1};
  config.session.gradient_clip_val = 0.1;
  const auto by_norm = fit(config, data);
  config.session.gradient_clip_algorithm = levin::ClipAlgorithm::value;
  const auto by_value = fit(config, data);
  BOOST_TEST(!at::allclose(by_norm.module->net->weight, by_value.module->net->weight));
}

BOOST_AUTO_TEST_CASE(num_threads) {
  TrainerConfig config;
  config.session.num_threads = 2;
  levin::Trainer trainer(config, runtime());
  BOOST_TEST(at::get_num_threads() == 2);
  config.session.num_threads = 1;
  levin::Trainer again(config, runtime());
  BOOST_TEST(at::get_num_threads() == 1);
}

BOOST_AUTO_TEST_CASE(window_directory) {
  TrainerConfig config;
  config.session.window_directory = "/nowhere";
  if (runtime().size() == 1)
    levin::Trainer(config, runtime());  // nothing is shared
  else
    check_throws<levin::IoError>([&] { levin::Trainer(config, runtime()); }, {"/nowhere"});
}

// An accelerator with the CPU's communicator, which notes the options that it is asked for.
struct NotesOptions : levin::Accelerator {
  explicit NotesOptions(levin::CommunicatorOptions& options) : noted(&options) {}
  std::string name() const override { return "notes_options"; }
  int device_count() const override { return 1; }
  c10::Device device(int local_rank, int local_size) const override { return cpu->device(local_rank, local_size); }
  std::unique_ptr<levin::Communicator> communicator(const levin::MpiRuntime& ranks, const levin::CommunicatorOptions& options,
                                                    c10::Device device) const override {
    *noted = options;
    return cpu->communicator(ranks, options, device);
  }
  int64_t alignment_bytes() const override { return cpu->alignment_bytes(); }
  void seed(uint64_t seed) const override { cpu->seed(seed); }
  void synchronize() const override {}
  levin::CommunicatorOptions* noted;
  std::unique_ptr<levin::Accelerator> cpu = levin::make_cpu_accelerator();
};

BOOST_AUTO_TEST_CASE(comm_timeout) {
  levin::CommunicatorOptions noted;
  levin::AcceleratorRegistry accelerators;
  accelerators.add("notes_options", [&] { return std::make_unique<NotesOptions>(noted); });
  TrainerConfig config;
  config.session.accelerator = "notes_options";
  levin::Trainer standard(config, runtime(), 0, accelerators);
  BOOST_TEST(noted.timeout.count() == 300'000);
  config.session.comm_timeout = levin::Seconds{1.5};
  levin::Trainer shorter(config, runtime(), 0, accelerators);
  BOOST_TEST(noted.timeout.count() == 1500);
}

// What is not one field's.

BOOST_AUTO_TEST_CASE(every_sample_once_an_epoch_over_all_ranks) {
  ToyData data({.global_batch_size = 7}, 39);
  const auto fitted = fit({.max_epochs = 1, .num_sanity_val_steps = 0}, data);
  auto& session = fitted.trainer->session();
  BOOST_TEST(over_ranks(session, static_cast<double>(fitted.module->trained_on.size())) == 39);
  double sum = 0;
  for (int64_t index : fitted.module->trained_on) sum += static_cast<double>(index);
  BOOST_TEST(over_ranks(session, sum) == 38 * 39 / 2);
  double evaluated = 0;
  for (int64_t index : fitted.module->evaluated_on) evaluated += static_cast<double>(index);
  BOOST_TEST(over_ranks(session, evaluated) == 10 * 11 / 2);
  BOOST_TEST(fitted.module->evaluation_mode);
  BOOST_TEST(fitted.module->is_training());
}

BOOST_AUTO_TEST_CASE(epoch_means_are_over_all_samples_of_all_ranks) {
  for (int64_t batch : {1, 2, 3, 5, 11}) {
    ToyData data({.global_batch_size = std::max<int64_t>(batch, runtime().size())});
    const auto fitted = fit({.max_epochs = 0, .num_sanity_val_steps = 0}, data);
    const auto values = fitted.trainer->validate(*fitted.module, data);
    BOOST_REQUIRE(values.size() == 2u);
    BOOST_TEST(values[1].first == "mean_index");
    BOOST_TEST(values[1].second == 5.0);
    static double first = values[0].second;
    BOOST_TEST(values[0].second == first, boost::test_tools::tolerance(1e-6));
  }
}

BOOST_AUTO_TEST_CASE(predictions_belong_to_their_samples) {
  ToyData data({.global_batch_size = 4});
  const auto fitted = fit({.max_epochs = 1}, data);
  double rows = 0;
  for (const auto& prediction : fitted.trainer->predict(*fitted.module, data)) {
    BOOST_TEST(static_cast<int64_t>(prediction.indices.size()) == prediction.rows.size(0));
    rows += static_cast<double>(prediction.rows.size(0));
    levin::Batch batch;
    data.val->get(prediction.indices, batch);
    BOOST_TEST(at::allclose(fitted.module->net(batch["x"]), prediction.rows));
  }
  BOOST_TEST(over_ranks(fitted.trainer->session(), rows) == 11);
}

// The validation loss of a model that does not learn never improves: a fall after the second epoch and one after the fourth.
BOOST_AUTO_TEST_CASE(a_plateau_looks_once_an_epoch) {
  struct Still : Toy {
    void on_train_epoch_start() override { rates.push_back(session->learning_rate()); }
    levin::Session* session = nullptr;
    std::vector<double> rates;
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 6}, runtime());
  const auto module = trainer.build<Still>();
  module->session = &trainer.session();
  module->spec = levin::SGD{.lr = 1};
  module->spec.rules = {{.pattern = "*", .lr = 0}};
  module->spec.lr_scheduler = levin::ReduceLROnPlateau{.factor = 0.5, .patience = 0, .cooldown = 1};
  trainer.fit(*module, data);
  BOOST_TEST(module->rates == (std::vector<double>{1, 1, 0.5, 0.5, 0.25, 0.25}), boost::test_tools::per_element());
  BOOST_TEST(trainer.session().plateau().best.value() > 0);
}

// A value that came in an earlier epoch is not looked at again, and one that has not come yet is not missing.
BOOST_AUTO_TEST_CASE(a_plateau_looks_at_new_values_only) {
  struct Still : Toy {
    void on_train_epoch_start() override { rates.push_back(trainer().session().learning_rate()); }
    std::vector<double> rates;
  };
  for (const bool strict : {true, false})
    for (const int64_t frequency : {1, 2}) {
      ToyData data;
      levin::Trainer trainer({.max_epochs = 6, .check_val_every_n_epoch = 2}, runtime());
      const auto module = trainer.build<Still>();
      module->spec = levin::SGD{.lr = 0.1};
      module->spec.rules = {{.pattern = "*", .lr = 0}};
      module->spec.lr_scheduler = levin::ReduceLROnPlateau{.factor = 0.5, .patience = 0, .strict = strict, .frequency = frequency};
      trainer.fit(*module, data);
      BOOST_TEST(module->rates == (std::vector<double>{0.1, 0.1, 0.1, 0.1, 0.05, 0.05}), boost::test_tools::per_element());
    }
  ToyData data;
  levin::Trainer trainer({.max_epochs = 6, .check_val_every_n_epoch = 2}, runtime());
  const auto module = trainer.build<Toy>();
  module->spec.lr_scheduler = levin::ReduceLROnPlateau{.monitor = "val_los"};
  try {
    trainer.fit(*module, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {
    BOOST_TEST(std::string(error.what()).find("\"val_los\", which was not logged") != std::string::npos, error.what());
    if (dynamic_cast<const levin::ConfigError*>(&error)) BOOST_TEST(trainer.current_epoch() == 2);  // after the first validation
  }
}

// When all values are known, not when the schedule first looks.
BOOST_AUTO_TEST_CASE(a_plateau_that_monitors_nothing_is_refused_after_an_epoch) {
  for (const auto interval : {levin::Interval::epoch, levin::Interval::step}) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 6}, runtime());
    const auto module = trainer.build<Toy>();
    module->spec.lr_scheduler = levin::ReduceLROnPlateau{.monitor = "val_los", .interval = interval, .frequency = 20};
    check_all_throw<levin::ConfigError>([&] { trainer.fit(*module, data); }, {"\"val_los\", which was not logged"});
    BOOST_TEST(trainer.current_epoch() <= 1);
  }
}

// Names that only training logs resemble none of a validation's.
BOOST_AUTO_TEST_CASE(a_mistyped_metric_is_reported_before_the_first_step) {
  struct Needs : levin::Callback {
    explicit Needs(std::string metric) : name(std::move(metric)) {}
    std::vector<std::string> required_metrics() const override { return {name}; }
    std::string name;
  };
  const auto reported = [](const std::string& of_callback, const std::string& of_schedule) {
    levin::MpiRuntime noisy(runtime().communicator());
    noisy.set_log(levin::Log::to_stderr(noisy.rank(), levin::LogLevel::warning));
    const CapturedStderr captured;
    levin::Trainer trainer({.max_steps = 1}, noisy);
    trainer.add_callback(std::make_shared<Needs>(of_callback));
    const auto module = trainer.build<Toy>();
    module->spec.lr_scheduler = levin::ReduceLROnPlateau{.monitor = of_schedule};
    std::string text;
    module->in_step = [&] { text = captured.text(); };
    ToyData data;
    trainer.fit(*module, data);
    return text;
  };
  const bool first = runtime().rank() == 0;
  const auto has = [](const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; };
  const auto of_callback = reported("val_los", "val_loss"), of_schedule = reported("train_loss", "mean_indx"),
             none = reported("score", "lr-SGD");
  BOOST_TEST(has(of_callback, "Needs needs the metric \"val_los\"") == first, of_callback);
  BOOST_TEST(has(of_callback, "did you mean val_loss?") == first, of_callback);
  BOOST_TEST(!has(of_callback, "a plateau schedule"), of_callback);
  BOOST_TEST(has(of_schedule, "a plateau schedule needs the metric \"mean_indx\"") == first, of_schedule);
  BOOST_TEST(!has(of_schedule, "train_loss"), of_schedule);
  BOOST_TEST(!has(none, "needs the metric"), none);
}

// Nothing was trained, and the run's checkpoints are still those of the training before.
BOOST_AUTO_TEST_CASE(a_schedule_without_length_is_refused_before_the_training) {
  struct Starting : Toy {
    void on_train_start() override { starts++; }
    int starts = 0;
  };
  const levin::test::FolderOfRanks folder;
  const auto train = [&](int64_t max_epochs, const levin::LrSchedulerConfig& schedule) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = max_epochs}, runtime());
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder.path}));
    const auto module = trainer.build<Starting>();
    module->spec.lr_scheduler = schedule;
    if (max_epochs > 0)
      trainer.fit(*module, data);
    else
      check_all_throw<levin::ConfigError>([&] { trainer.fit(*module, data); }, {"does not know how long the training is", "max_steps"});
    BOOST_TEST((module->starts > 0) == (max_epochs > 0));
    BOOST_TEST((module->calls["training_step"] > 0) == (max_epochs > 0));
    MPI_Barrier(runtime().communicator());
    return levin::list_checkpoints(folder.path).checkpoints.size();
  };
  const auto saved = train(1, levin::ConstantLR{});
  BOOST_TEST(saved > 0u);
  const levin::SequentialLR sequence{.schedulers = {levin::ConstantLR{}, levin::CosineAnnealingLR{}}, .milestones = {1000}};
  for (const levin::LrSchedulerConfig& schedule :
       {levin::LrSchedulerConfig(levin::CosineAnnealingLR{}), levin::LrSchedulerConfig(levin::PolynomialLR{.warmup = {.warmup = 1000}}),
        levin::LrSchedulerConfig(sequence)})
    BOOST_TEST(train(-1, schedule) == saved);
}

BOOST_AUTO_TEST_CASE(invalid_options_of_an_optimizer_are_refused) {
  ToyData data;
  const auto refused = [&](const levin::OptimizerSpec& spec, const std::vector<std::string>& parts) {
    check_all_throw<levin::ConfigError>([&] { fit({.max_epochs = 1}, data, [&](Toy& toy) { toy.spec = spec; }); }, parts);
  };
  refused(levin::AdamW{.beta1 = 1.5}, {"beta1", "1.5"});
  refused(levin::SGD{.lr = -1}, {"lr", "-1"});
}

// Augmentation in a transfer hook: each rank and batch has its own numbers, which a run from the same state draws again.
BOOST_AUTO_TEST_CASE(generators_are_set_before_the_transfer) {
  struct Noisy : Toy {
    void on_after_batch_transfer(levin::Batch& batch) override {
      drawn.push_back(at::rand({1}, at::kDouble).item<double>());
      if (is_training()) batch.set("x", batch["x"] + at::rand_like(batch["x"]));
    }
    std::vector<double> drawn;
  };
  const auto drawn = [](int64_t before) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
    const auto module = trainer.build<Noisy>();
    at::rand({before});  // whatever the generator's state was
    trainer.fit(*module, data);
    const levin::Tensor first = at::full({1}, module->drawn.front(), at::kDouble), ranks = at::zeros({runtime().size()}, at::kDouble);
    trainer.session().communicator().all_gather(ranks, first).wait();
    for (int rank = 1; rank < runtime().size(); rank++) BOOST_TEST(ranks[0].item<double>() != ranks[rank].item<double>());
    return module->drawn;
  };
  BOOST_TEST(drawn(3) == drawn(8), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(data_are_prepared_once_a_job) {
  ToyData data;
  fit({.max_epochs = 1}, data);
  BOOST_TEST(data.prepared == (runtime().rank() == 0 ? 1 : 0));
  BOOST_TEST((data.stages == std::vector{levin::Stage::fit}));
}

BOOST_AUTO_TEST_CASE(each_module_is_set_up_even_at_the_address_of_another) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  alignas(Toy) std::byte memory[sizeof(Toy)];
  for (int model = 0; model < 2; model++) {
    auto* toy = new (memory) Toy;
    const levin::Tensor before = toy->net->weight.detach().clone();
    trainer.session().progress() = {};
    trainer.fit(*toy, data);
    BOOST_TEST(!at::allclose(toy->net->weight, before));
    toy->~Toy();
  }
  BOOST_TEST(data.prepared == (runtime().rank() == 0 ? 1 : 0));
}

BOOST_AUTO_TEST_CASE(one_ranks_exception_reaches_all) {
  ToyData data;
  const int guilty = runtime().size() - 1;
  try {
    fit({.max_epochs = 1}, data, [&](Toy& toy) {
      if (runtime().rank() == guilty) toy.fail_at_step = 2;
    });
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::CommunicatorAborted& error) {
    BOOST_TEST(runtime().rank() != guilty);
    BOOST_TEST(error.by_rank() == guilty);
    BOOST_TEST(std::string(error.what()).find("the toy broke") != std::string::npos);
  } catch (const std::runtime_error& error) {
    BOOST_TEST(runtime().rank() == guilty);
  }
}

BOOST_AUTO_TEST_CASE(stop_is_agreed_at_one_step) {
  struct StopAt : levin::Callback {
    void on_train_batch_end(const levin::Tensor&, const levin::Batch&, int64_t batch_idx) override {
      if (batch_idx == 1 && runtime().rank() == runtime().size() - 1) trainer().session().request_stop(levin::StopReason::requested);
    }
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 3}, runtime());
  trainer.add_callback(std::make_shared<StopAt>());
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 3);
  BOOST_TEST(trainer.report().stop_reason == "stopped early");
}

BOOST_AUTO_TEST_SUITE_END()
