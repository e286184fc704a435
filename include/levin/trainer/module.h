#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "levin/core/batch.h"
#include "levin/metrics/metric.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/trainer/hooks.h"
#include "levin/trainer/log_collection.h"

namespace levin {

/// A model with what it does in a step, as Lightning's LightningModule. Submodules are registered as in LibTorch.
class Module : public torch::nn::Module, public Hooks {
 public:
  using torch::nn::Module::Module;

  /// The mean loss over the batch.
  virtual Tensor training_step(const Batch& batch) = 0;
  /// Logs what it finds. UsageError where it is called and not overridden; the same for predict_step.
  virtual void validation_step(const Batch& batch);
  virtual void test_step(const Batch& batch) { validation_step(batch); }
  /// A row for every sample: [batch.size(), ...].
  virtual Tensor predict_step(const Batch& batch);
  /// One spec, or none for a module that is not trained.
  virtual std::vector<OptimizerSpec> configure_optimizers() { return {}; }

  /// Metrics by name, in the order of add_metric.
  const std::vector<std::pair<std::string, std::shared_ptr<Metric>>>& metrics() const noexcept { return metrics_; }

  /// For the Trainer: where log() goes; null outside a run.
  void attach_logs(LogCollection* logs) noexcept { logs_ = logs; }
  LogCollection* logs() const noexcept { return logs_; }
  /// For the Trainer: what training_step set by set_batch_weight, once.
  std::optional<double> take_batch_weight() noexcept { return std::exchange(batch_weight_, std::nullopt); }

 protected:
  /// Logs a value of this step: one element, else UsageError; nothing outside of a run. Means over an epoch are over all samples of all
  /// ranks.
  void log(std::string_view name, const Tensor& value, const LogOptions& options = {});
  void log(std::string_view name, double value, const LogOptions& options = {});
  /// Logs a metric at the end of the epoch, computed over all ranks, and resets it.
  void log(std::string_view name, Metric& metric, const LogOptions& options = {});

  /// Makes a metric that belongs to the module: `Accuracy& accuracy_ = add_metric<Accuracy>("accuracy");`
  template <class M, class... Args>
  M& add_metric(std::string name, Args&&... args) {
    auto metric = std::make_shared<M>(std::forward<Args>(args)...);
    M& result = *metric;
    metrics_.emplace_back(std::move(name), std::move(metric));
    return result;
  }
  /// What this micro-batch counts for in the step's mean, when it is not its number of samples (a number of tokens, say).
  /// Values that are logged after it have this weight, too.
  void set_batch_weight(double weight) noexcept;

 private:
  std::vector<std::pair<std::string, std::shared_ptr<Metric>>> metrics_;
  LogCollection* logs_ = nullptr;
  std::optional<double> batch_weight_;
};

}  // namespace levin
