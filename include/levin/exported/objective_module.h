#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "levin/optim/parameter_rule.h"
#include "levin/trainer/module.h"

namespace levin {

/// Loss, metrics and predictions of a model as expressions of a config: see docs/levin.md.
struct ObjectiveConfig {
  std::string loss = {};
  std::map<std::string, std::string> metrics = {};
  std::string predict = {};
  std::vector<ParameterRule> rules = {};
};
LEVIN_CONFIG(ObjectiveConfig,
             (loss, "what training minimizes: an output, or cross_entropy(OUTPUT, TENSOR) and such; sums with factors, too"),
             (metrics, "what evaluation logs, as {acc: accuracy(OUTPUT, TENSOR)}: metrics by name, and every loss"),
             (predict, "what predict writes: an output, or softmax, log_softmax, sigmoid or argmax of it"),
             (rules, "exceptions by parameter name, as [{pattern: '*.bias', weight_decay: 0}]"))

/// A module whose steps are expressions of its config: they compute the loss, metrics and predictions from its outputs by name and from the
/// batch's tensors. AdamW with LibTorch's defaults, unless the program's options name another optimizer.
class ObjectiveModule : public Module {
 public:
  using Outputs = std::map<std::string, Tensor, std::less<>>;

  ~ObjectiveModule() override;
  Tensor training_step(const Batch& batch) override;
  /// Logs val_loss, or test_loss, and each metric under its name with the stage in front.
  void validation_step(const Batch& batch) override { evaluate("val", batch); }
  void test_step(const Batch& batch) override { evaluate("test", batch); }
  Tensor predict_step(const Batch& batch) override;
  /// ConfigError where nothing is to be minimized.
  std::vector<OptimizerSpec> configure_optimizers() override;

 protected:
  ObjectiveModule();
  /// Call it once, in the constructor. `outputs` are the names of the model's; `loss` is that of the loss among them, or empty.
  /// ConfigError, with the names that exist, for an expression that is not valid, an unknown function, option or output.
  void set_objective(const ObjectiveConfig& config, const std::vector<std::string>& outputs, const std::string& loss);
  virtual Outputs compute(const Batch& batch) = 0;
  /// The batch's tensor. ConfigError that lists the batch's tensors; `role` says who names it: "model.loss".
  static const Tensor& tensor_of(const Batch& batch, const std::string& name, const std::string& role);

 private:
  struct Objective;
  Tensor loss(const Outputs& outputs, const Batch& batch);
  void evaluate(const char* stage, const Batch& batch);

  std::unique_ptr<Objective> objective_;
};

}  // namespace levin
