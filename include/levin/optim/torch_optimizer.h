#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/optim/optimizer_spec.h"

namespace levin {

class OptimizerMemory;

/// A torch::optim::Optimizer over whole parameters, whose learning rates follow a schedule.
class TorchOptimizer {
 public:
  /// UsageError for a factory that makes nothing, options without a learning rate, or an optimizer that needs a closure (LBFGS).
  TorchOptimizer(const OptimizerFactory& factory, const std::vector<Tensor>& parameters);
  ~TorchOptimizer();

  /// The name of its class: "Adagrad".
  std::string name() const;
  /// The learning rates that the factory gave its groups.
  const std::vector<double>& base_lrs() const noexcept { return base_lrs_; }
  /// Gives the first group, and those with its learning rate, another one.
  void set_base_lr(double lr) { std::replace(base_lrs_.begin(), base_lrs_.end(), double{base_lrs_.front()}, lr); }
  /// One update from the parameters' .grad; `schedule` maps a group's base learning rate to today's. UsageError for an optimizer that
  /// asks for the loss again.
  void step(const std::function<double(double)>& schedule);

  /// Whether checkpoints can keep its state: one of LibTorch's own classes (Adagrad, Adam, AdamW, RMSprop, SGD), or an OptimizerMemory.
  bool keeps_state() const;
  /// The state of a parameter, by name: tensors of its shape, zeros before the first step.
  std::vector<std::pair<std::string, Tensor>> state_of(const Tensor& parameter) const;
  /// The updates that an OptimizerMemory counted; null: the optimizer is none.
  std::optional<int64_t> own_steps() const;
  void set_own_steps(int64_t steps);
  /// The updates of a parameter so far, where one of LibTorch's classes counts them: as many as gave it a gradient.
  void set_steps(const Tensor& parameter, int64_t steps);
  /// Before the first update of a parameter: removes a momentum of zeros, which checkpoints made, since LibTorch's SGD takes its first
  /// gradient for one that does not exist.
  void forget_zeros(const Tensor& parameter);

 private:
  bool is_known() const;
  bool needs_closure() const;
  OptimizerMemory* memory() const;

  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::vector<double> base_lrs_;  // of each group
};

}  // namespace levin
