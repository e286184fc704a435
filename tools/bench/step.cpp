// The time of a training step of Levin's Trainer, on an MLP over 60000 x 784 floats, batch 64, AdamW, one thread a rank:
//   step overhead            the Trainer with a CSV logger, and a raw LibTorch loop, in turn in one process
//   step hooks               manual optimization and five callbacks that do nothing, and the Trainer without them, in turn
//   step logged              five callbacks and three loggers, and the Trainer without them, in turn
//   step watched             with a job's stop sources and its watchdog, and without them, in turn in one training; on all ranks
//   step single [ACCELERATOR [CLIP]]
//                            epochs 2 and 3 of 784-16-10, with a CSV logger; Lightning's script does the same. CLIP: the largest norm of
//                            the gradient
//   step ddp WIDTH STEPS     784-WIDTH-WIDTH-10 on all ranks
//   step alone WIDTH STEPS   the same, every rank by itself: what communication costs
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/core.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../../src/optim/flush_denormals.h"
#include "levin/callbacks/device_stats_monitor.h"
#include "levin/callbacks/early_stopping.h"
#include "levin/callbacks/gradient_norm_monitor.h"
#include "levin/callbacks/learning_rate_monitor.h"
#include "levin/callbacks/throughput_monitor.h"
#include "levin/cluster/job_watch.h"
#include "levin/cluster/stop_signals.h"
#include "levin/cluster/watchdog.h"
#include "levin/core/number_text.h"
#include "levin/data/tensor_dataset.h"
#include "levin/loggers/csv_logger.h"
#include "levin/loggers/json_logger.h"
#include "levin/loggers/tensorboard_logger.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "timing.h"

namespace {

constexpr auto small_mlp = "MLP 784-16-10, batch 64";
constexpr int64_t batch_size = 64, block_steps = 200, warm_up_steps = 600, pairs = 30;

/// 784-width-10, or 784-width-width-10.
struct Net : torch::nn::Module {
  Net(int64_t width, bool deep) {
    first = register_module("first", torch::nn::Linear(784, width));
    if (deep) middle = register_module("middle", torch::nn::Linear(width, width));
    last = register_module("last", torch::nn::Linear(width, 10));
  }
  at::Tensor loss(const levin::Batch& batch) {
    auto x = at::relu(first->forward(batch["image"]));
    if (middle) x = at::relu(middle->forward(x));
    return at::cross_entropy_loss(last->forward(x), batch["label"]);
  }
  torch::nn::Linear first{nullptr}, middle{nullptr}, last{nullptr};
};

struct Classifier : levin::Module {
  Classifier(int64_t width, bool deep) : net(register_module("net", std::make_shared<Net>(width, deep))) {}
  levin::Tensor training_step(const levin::Batch& batch) override {
    auto loss = net->loss(batch);
    log("train_loss", loss);
    return loss;
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::AdamW{}}; }
  std::shared_ptr<Net> net;
};

/// The same in manual optimization.
struct ByHand : Classifier {
  using Classifier::Classifier;
  bool automatic_optimization() const override { return false; }
  levin::Tensor training_step(const levin::Batch& batch) override {
    return optimize("adamw", [&] { return Classifier::training_step(batch); });
  }
};

levin::DataLoaderSpec make_data(bool shuffle = true) {
  levin::DataLoaderSpec spec;
  spec.options.shuffle = shuffle;
  spec.dataset = std::make_shared<levin::TensorDataset>(
      levin::TensorDataset{{"image", at::rand({60000, 784})}, {"label", at::randint(10, {60000}, at::kLong)}});
  spec.options.batch_size = batch_size;
  return spec;
}

struct Data : levin::DataModule {
  explicit Data(levin::DataLoaderSpec spec) : spec(std::move(spec)) {}
  levin::DataLoaderSpec train_dataloader() override { return spec; }
  levin::DataLoaderSpec spec;
};

/// What a user writes without a Trainer.
class RawLoop {
 public:
  /// Starts from the same parameters as `twin`: the time of a step depends on them (dead units, denormal numbers).
  RawLoop(const levin::DataLoaderSpec& data, const Net& twin) : net_(16, false), loader_(data.dataset, data.options) {
    const at::NoGradGuard no_grad;
    const auto values = twin.parameters();
    for (auto& parameter : net_.parameters()) {
      parameter.copy_(values[parameters_.size()]);
      parameters_.push_back(parameter);
      means_.push_back(at::zeros_like(parameter));
      squares_.push_back(at::zeros_like(parameter));
      steps_.push_back(step_);
    }
  }
  void run(int64_t steps) {
    for (int64_t step = 0; step < steps; ++step) {
      levin::Batch* batch = loader_.next();
      if (!batch) {
        loader_.set_epoch(++epoch_);
        batch = loader_.next();
      }
      net_.loss(*batch).backward();
      std::vector<at::Tensor> gradients;
      for (auto& parameter : parameters_) gradients.push_back(parameter.grad());
      {
        const at::NoGradGuard no_grad;
        step_.add_(1);
      }
      const levin::FlushDenormals flush_denormals;  // as in the Trainer's updates
      at::_fused_adamw_(parameters_, gradients, means_, squares_, {}, steps_, 1e-3, 0.9, 0.999, 0.01, 1e-8, false, false);
      net_.zero_grad();
    }
  }

 private:
  Net net_;
  levin::DataLoader loader_;
  at::Tensor step_ = at::zeros({});  // one count for all parameters
  std::vector<at::Tensor> parameters_, means_, squares_, steps_;
  int64_t epoch_ = 0;
};

/// Between blocks of the Trainer's steps, as many steps of the raw loop.
struct InTurn : levin::Callback {
  explicit InTurn(RawLoop& raw) : raw(raw) {}
  void on_train_batch_end(const levin::Tensor&, const levin::Batch&, int64_t) override {
    if (++steps % block_steps != 0) return;
    const double between = now_us();
    raw.run(block_steps);
    const double end = now_us();
    if (steps > warm_up_steps) ours.push_back(between - began), theirs.push_back(end - between);
    began = now_us();
  }
  RawLoop& raw;
  int64_t steps = 0;
  double began = 0;
  std::vector<double> ours, theirs;
};

levin::TrainerConfig quiet_config() {
  levin::TrainerConfig config;
  config.session.num_threads = 1;
  config.enable_progress_bar = false;
  config.enable_model_summary = false;
  return config;
}

struct Folder {
  Folder() : path((std::filesystem::temp_directory_path() / "levin-bench-XXXXXX").string()) {
    if (!mkdtemp(path.data())) throw std::runtime_error("cannot make " + path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

void overhead(levin::MpiRuntime& mpi) {
  const Folder folder;
  auto config = quiet_config();
  config.max_steps = warm_up_steps + pairs * block_steps;
  levin::Trainer trainer(config, mpi);
  trainer.add_logger(std::make_shared<levin::CSVLogger>(folder.path + "/metrics.csv"));
  auto model = trainer.build<Classifier>(16, false);
  Data data(make_data());
  RawLoop raw(data.spec, *model->net);
  const auto clock = std::make_shared<InTurn>(raw);
  trainer.add_callback(clock);
  trainer.fit(*model, data);
  for (auto* times : {&clock->ours, &clock->theirs})
    for (double& time : *times) time /= block_steps;
  print_pairs(small_mlp, clock->ours, clock->theirs);
}

void nothing(levin::Trainer&) {}

/// A training of one block after `before` steps; its time per step.
template <class Model>
double block(levin::MpiRuntime& mpi, Data& data, int64_t before, const std::function<void(levin::Trainer&)>& add) {
  auto config = quiet_config();
  config.max_steps = before + block_steps;
  levin::Trainer trainer(config, mpi);
  add(trainer);
  const auto clock = std::make_shared<StepClock>(before);
  trainer.add_callback(clock);
  trainer.fit(*trainer.build<Model>(16, false), data);
  return clock->us_per_step();
}

void hooks(levin::MpiRuntime& mpi) {
  Data data(make_data());
  const auto idle = [](levin::Trainer& trainer) {
    for (int i = 0; i < 5; i++) trainer.add_callback(std::make_shared<levin::Callback>());
  };
  std::vector<double> ours, theirs;
  for (int64_t pair = -2; pair < pairs; ++pair) {  // two to warm up
    const double by_hand = block<ByHand>(mpi, data, block_steps, idle), automatic = block<Classifier>(mpi, data, block_steps, nothing);
    if (pair >= 0) ours.push_back(by_hand), theirs.push_back(automatic);
  }
  print_pairs(small_mlp, ours, theirs);
}

void logged(levin::MpiRuntime& mpi) {
  const Folder folder;
  Data data(make_data());
  const auto all = [&](levin::Trainer& trainer) {
    trainer.add_callback(std::make_shared<levin::EarlyStopping>(levin::EarlyStoppingConfig{.monitor = "train_loss"}));
    trainer.add_callback(std::make_shared<levin::LearningRateMonitor>());
    trainer.add_callback(std::make_shared<levin::ThroughputMonitor>());
    trainer.add_callback(std::make_shared<levin::DeviceStatsMonitor>());
    trainer.add_callback(std::make_shared<levin::GradientNormMonitor>());
    trainer.add_logger(std::make_shared<levin::CSVLogger>(folder.path + "/metrics.csv"));
    trainer.add_logger(std::make_shared<levin::JSONLogger>(levin::JSONLoggerConfig{}, folder.path));
    trainer.add_logger(std::make_shared<levin::TensorBoardLogger>(levin::TensorBoardLoggerConfig{}, folder.path));
  };
  std::vector<double> ours, theirs;
  for (int64_t pair = -2; pair < 2 * pairs; ++pair) {
    const double with = block<Classifier>(mpi, data, block_steps, all), without = block<Classifier>(mpi, data, block_steps, nothing);
    if (pair >= 0) ours.push_back(with), theirs.push_back(without);
  }
  print_pairs(small_mlp, ours, theirs);
}

/// In every other block the training lives in a job: signals and the clock are looked at in each step, and a watchdog runs.
struct InJob : levin::Callback {
  InJob(levin::Trainer& trainer, levin::JobWatch& watch) : trainer(trainer), watch(watch) {
    trainer.session().add_stop_source([this] { return watchdog ? this->watch.reason(1) : std::nullopt; });
  }
  void on_train_batch_end(const levin::Tensor&, const levin::Batch&, int64_t) override {
    if (++steps % block_steps != 0) return;
    const double time = now_us() - began;
    if (steps > warm_up_steps) (watchdog ? ours : theirs).push_back(time / block_steps);
    const bool next = !watchdog;
    watchdog.reset();
    const levin::WatchdogOptions options{
        .hang_timeout = levin::JobConfig().hang_timeout, .folder = {}, .describe_stack = {}, .end_job = [](const std::string&) {}};
    if (next) watchdog.emplace(options, trainer.session().communicator(), trainer.session().topology());
    began = now_us();
  }
  levin::Trainer& trainer;
  levin::JobWatch& watch;
  std::optional<levin::Watchdog> watchdog;
  int64_t steps = 0;
  double began = 0;
  std::vector<double> ours, theirs;
};

void watched(levin::MpiRuntime& mpi) {
  auto config = quiet_config();
  config.max_steps = warm_up_steps + 2 * pairs * block_steps;
  levin::JobConfig job;
  job.time_limit = levin::Seconds{1e6};
  const levin::StopSignals signals(job.stop_signals);
  levin::JobWatch watch(job, {}, mpi.rank(), std::chrono::steady_clock::now(), mpi.log());
  levin::Trainer trainer(config, mpi);
  const auto blocks = std::make_shared<InJob>(trainer, watch);
  trainer.add_callback(blocks);
  Data data(make_data());
  trainer.fit(*trainer.build<Classifier>(16, false), data);
  blocks->watchdog.reset();
  if (mpi.rank() == 0) print_pairs(small_mlp, blocks->ours, blocks->theirs);
}

void single(levin::MpiRuntime& mpi, const std::string& accelerator, std::optional<double> clip) {
  const Folder folder;
  auto config = quiet_config();
  config.session.accelerator = accelerator;
  config.max_epochs = 3;
  config.session.gradient_clip_val = clip;
  levin::Trainer trainer(config, mpi);
  trainer.add_logger(std::make_shared<levin::CSVLogger>(folder.path + "/metrics.csv"));
  auto model = trainer.build<Classifier>(16, false);
  Data data(make_data());
  const auto clock = std::make_shared<StepClock>((60000 + batch_size - 1) / batch_size);
  trainer.add_callback(clock);
  trainer.fit(*model, data);
  print_value(small_mlp, clock->us_per_step());
}

void wide(levin::MpiRuntime& world, levin::MpiRuntime& mpi, int64_t width, int64_t steps) {
  auto config = quiet_config();
  config.max_steps = steps + steps / 4;
  levin::Trainer trainer(config, mpi);
  auto model = trainer.build<Classifier>(width, true);
  Data data(make_data(/*shuffle=*/false));  // the peer cuts its batches in order, too
  const auto clock = std::make_shared<StepClock>(steps / 4);
  trainer.add_callback(clock);
  levin::check_mpi(MPI_Barrier(world.communicator()), "MPI_Barrier");
  trainer.fit(*model, data);
  double slowest = clock->us_per_step();
  levin::check_mpi(MPI_Allreduce(MPI_IN_PLACE, &slowest, 1, MPI_DOUBLE, MPI_MAX, world.communicator()), "MPI_Allreduce");
  if (world.rank() == 0) print_value(fmt::format("MLP 784-{}-{}-10 on {} ranks", width, width, world.size()), slowest);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  at::set_num_threads(1);
  levin::MpiRuntime world;
  if (mode == "overhead") {
    overhead(world);
  } else if (mode == "hooks") {
    hooks(world);
  } else if (mode == "logged") {
    logged(world);
  } else if (mode == "watched") {
    watched(world);
  } else if (mode == "single") {
    single(world, argc > 2 ? argv[2] : "auto", argc > 3 ? std::optional(levin::parse_number<double>(argv[3]).value()) : std::nullopt);
  } else if ((mode == "ddp" || mode == "alone") && argc == 4) {
    levin::MpiRuntime self(MPI_COMM_SELF);
    wide(world, mode == "ddp" ? world : self, levin::parse_number<int64_t>(argv[2]).value(), levin::parse_number<int64_t>(argv[3]).value());
  } else {
    fmt::print(stderr, "step overhead | hooks | logged | watched | single [ACCELERATOR [CLIP]] | ddp WIDTH STEPS | alone WIDTH STEPS\n");
    return 78;
  }
}
