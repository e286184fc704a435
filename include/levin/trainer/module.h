#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "levin/core/batch.h"
#include "levin/metrics/metric.h"
#include "levin/optim/clip.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/hooks.h"
#include "levin/trainer/log_collection.h"

namespace levin {

class ManualOptimization;
class ManualOptimizer;
class MetricCollection;
class Trainer;

/// A model with what it does in a step, as Lightning's LightningModule. Submodules are registered as in LibTorch.
class Module : public torch::nn::Module, public Hooks {
 public:
  using torch::nn::Module::Module;

  /// The mean loss over the batch. With manual optimization it takes the steps itself, and what it returns is for on_train_batch_end.
  virtual Tensor training_step(const Batch& batch) = 0;
  /// Logs what it finds. UsageError where it is called and not overridden; the same for predict_step.
  virtual void validation_step(const Batch& batch);
  virtual void test_step(const Batch& batch) { validation_step(batch); }
  /// A row for every sample: [batch.size(), ...].
  virtual Tensor predict_step(const Batch& batch);
  /// One spec, or none for a module that is not trained; several need manual optimization. Called for a training only.
  virtual std::vector<OptimizerSpec> configure_optimizers() { return {}; }
  /// False: training_step calls optimize, or manual_backward and what optimizer() offers.
  virtual bool automatic_optimization() const { return true; }

  /// Makes what is better not made in the constructor. Called in every run, after setup, with the seed that all ranks share: look whether
  /// it is there already.
  virtual void configure_model() {}
  /// Callbacks for the runs of this module; one of the Trainer's of the same class makes way.
  virtual std::vector<std::shared_ptr<Callback>> configure_callbacks() { return {}; }
  /// Clips the mean gradient before a step; by default as the Trainer's options say.
  virtual void configure_gradient_clipping(std::string_view optimizer, std::optional<double> gradient_clip_val,
                                           ClipAlgorithm gradient_clip_algorithm) {
    clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm);
  }
  /// Around an optimizer's update; without `update`, which is collective, the step leaves the parameters as they are.
  virtual void optimizer_step(std::string_view /*optimizer*/, const std::function<void()>& update) { update(); }

  /// After the module was put into eval mode for a pass, and after it is back in the modes that it had.
  virtual void on_validation_model_eval() {}
  virtual void on_validation_model_train() {}
  virtual void on_test_model_eval() {}
  virtual void on_test_model_train() {}
  virtual void on_predict_model_eval() {}
  /// Before a validation inside a training.
  virtual void on_validation_model_zero_grad() {}
  /// See DataModule's hooks of the same names, which come first.
  virtual void on_before_batch_transfer(Batch&) {}
  virtual void on_after_batch_transfer(Batch&) {}

  /// Metrics by name, in the order of add_metric.
  const std::vector<std::pair<std::string, std::shared_ptr<Metric>>>& metrics() const noexcept { return metrics_; }

  /// For the Trainer: where log() goes; null outside a run.
  void attach_logs(LogCollection* logs) noexcept { logs_ = logs; }
  LogCollection* logs() const noexcept { return logs_; }
  /// For the Trainer: what a batch counts for in the step's mean; see set_batch_weight, which holds since begin_batch.
  double weight_of(const Batch& batch) const { return batch.padding() ? 0 : batch_weight_.value_or(batch.weight()); }
  void begin_batch() noexcept { batch_weight_.reset(); }
  /// For the Trainer: the current run, or null; and the optimizers of manual optimization.
  void attach(Trainer* trainer) noexcept { trainer_ = trainer; }
  void attach_optimization(ManualOptimization* optimization) noexcept { optimization_ = optimization; }
  ManualOptimization* optimization() const noexcept { return optimization_; }

 protected:
  /// The Trainer of the current run. UsageError outside of a run.
  Trainer& trainer() const;

  /// Manual optimization. A whole step of one optimizer: the others' parameters are frozen, and of loss()'s gradients, the mean over all
  /// ranks, clipped as configured, is followed. Returns the loss. Collective. UsageError outside of training_step, and with automatic
  /// optimization.
  Tensor optimize(std::string_view optimizer, const std::function<Tensor()>& loss);
  /// The same in parts: gradients of several calls are added up until the optimizer's step.
  void manual_backward(const Tensor& loss);
  ManualOptimizer& optimizer(std::string_view name) const;
  /// Between the reduction and the step of an optimizer: limits its mean gradient; nothing without a value. Collective.
  void clip_gradients(std::string_view optimizer, std::optional<double> gradient_clip_val, ClipAlgorithm algorithm = ClipAlgorithm::norm);

  /// Logs a value of this step: one element, else UsageError; nothing outside of a run. Means over an epoch are over all samples of all
  /// ranks.
  void log(std::string_view name, const Tensor& value, const LogOptions& options = {});
  void log(std::string_view name, double value, const LogOptions& options = {});
  /// Logs a metric at the end of the epoch, computed over all ranks, and resets it.
  void log(std::string_view name, Metric& metric, const LogOptions& options = {});
  /// Logs every metric of a collection under its name.
  void log(const MetricCollection& metrics, const LogOptions& options = {});

  /// Makes a metric that belongs to the module: `Accuracy& accuracy_ = add_metric<Accuracy>("accuracy");`
  template <class M, class... Args>
  M& add_metric(std::string name, Args&&... args) {
    auto metric = std::make_shared<M>(std::forward<Args>(args)...);
    M& result = *metric;
    metrics_.emplace_back(std::move(name), std::move(metric));
    return result;
  }
  /// Adds a metric made elsewhere, say by metric_registry().
  void add_metric(std::string name, std::shared_ptr<Metric> metric) { metrics_.emplace_back(std::move(name), std::move(metric)); }
  /// Adds every metric of a collection under its name.
  void add_metrics(const MetricCollection& metrics);
  /// The weight of this micro-batch in the step's mean, if it is not its number of samples (its tokens, for example).
  /// Values that are logged after it have this weight, too.
  void set_batch_weight(double weight) noexcept;

 private:
  std::vector<std::pair<std::string, std::shared_ptr<Metric>>> metrics_;
  LogCollection* logs_ = nullptr;
  Trainer* trainer_ = nullptr;
  ManualOptimization* optimization_ = nullptr;
  std::optional<double> batch_weight_;
};

}  // namespace levin
