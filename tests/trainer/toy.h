#pragma once
// A small regression with everything counted, for tests of the trainer.
#include <ATen/ops/arange.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/sin.h>
#include <torch/nn/modules/linear.h>

#include <functional>
#include <map>

#include "levin/data/tensor_dataset.h"
#include "levin/metrics/mean.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin::test {

struct Toy : Module {
  Toy() { net = register_module("net", torch::nn::Linear(4, 1)); }

  Tensor training_step(const Batch& batch) override {
    calls["training_step"]++;
    if (in_step) in_step();
    for (int64_t index : batch.indices()) trained_on.push_back(index);
    if (fail_at_step >= 0 && calls["training_step"] > fail_at_step) throw std::runtime_error("the toy broke");
    Tensor loss = at::mse_loss(net(batch["x"]), batch["y"]);
    losses.push_back(loss.item<double>());
    weights.push_back(batch.weight());
    log("train_loss", loss, {.prog_bar = true});
    return loss;
  }
  void validation_step(const Batch& batch) override {
    calls["validation_step"]++;
    evaluation_mode = evaluation_mode && !is_training();
    for (int64_t index : batch.indices()) evaluated_on.push_back(index);
    const Tensor loss = at::mse_loss(net(batch["x"]), batch["y"]);
    mean_index_.update(batch["index"]);
    log("val_loss", loss);
    log("mean_index", mean_index_);
  }
  Tensor predict_step(const Batch& batch) override {
    calls["predict_step"]++;
    return net(batch["x"]);
  }
  std::vector<OptimizerSpec> configure_optimizers() override { return {spec}; }

  torch::nn::Linear net{nullptr};
  Mean& mean_index_ = add_metric<Mean>("mean_index");
  OptimizerSpec spec = SGD{.lr = 0.01};
  std::map<std::string, int> calls;
  std::vector<int64_t> trained_on, evaluated_on;
  std::vector<double> losses, weights;
  std::function<void()> in_step;  // called in training_step
  bool evaluation_mode = true;
  int fail_at_step = -1;
};

struct ToyData : DataModule {
  explicit ToyData(DataLoaderOptions loader_options = {.global_batch_size = 8}, int64_t train_samples = 40, int64_t val_samples = 11)
      : options(loader_options), train(make(train_samples)), val(make(val_samples)) {}

  static std::shared_ptr<Dataset> make(int64_t samples) {
    const Tensor x = at::sin(at::arange(samples * 4, at::kFloat)).view({samples, 4});
    return std::make_shared<TensorDataset>(
        std::vector<std::pair<std::string, Tensor>>{{"x", x}, {"y", x.sum(1, true) * 2 + 1}, {"index", at::arange(samples, at::kFloat)}});
  }
  void prepare_data() override { prepared++; }
  void setup(Stage stage) override { stages.push_back(stage); }
  DataLoaderSpec train_dataloader() override { return {train, options}; }
  DataLoaderSpec val_dataloader() override { return {val, options}; }
  DataLoaderSpec test_dataloader() override { return {val, options}; }

  DataLoaderOptions options;
  std::shared_ptr<Dataset> train, val;
  int prepared = 0;
  std::vector<Stage> stages;
};

/// Keeps what is logged (on rank 0).
struct MemoryLogger : Logger {
  struct Row {
    NamedValues values;
    int64_t epoch, step;
  };
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override { rows.push_back({values, epoch, step}); }
  std::vector<Row> rows;
};

struct Fitted {
  std::shared_ptr<Trainer> trainer;
  std::shared_ptr<Toy> module;
  std::shared_ptr<MemoryLogger> logger;
};

/// Fits a Toy on the test program's ranks.
Fitted fit(TrainerConfig config, ToyData& data, const std::function<void(Toy&)>& prepare = {});

/// Sum over the ranks.
double over_ranks(Session& session, double value);

}  // namespace levin::test
