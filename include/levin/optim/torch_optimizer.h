#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/optim/optimizer_spec.h"

namespace levin {

/// A torch::optim::Optimizer over whole parameters, whose learning rates follow a schedule.
class TorchOptimizer {
 public:
  /// UsageError for a factory that makes nothing, or options without a learning rate.
  TorchOptimizer(const OptimizerFactory& factory, const std::vector<Tensor>& parameters);
  ~TorchOptimizer();

  /// Of its class: "Adagrad".
  std::string name() const;
  /// The learning rates that the factory gave its groups.
  const std::vector<double>& base_lrs() const noexcept { return base_lrs_; }
  /// One update from the parameters' .grad; `schedule` maps a group's base learning rate to today's. UsageError for an optimizer that
  /// asks for the loss again (LBFGS).
  void step(const std::function<double(double)>& schedule);

 private:
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::vector<double> base_lrs_;  // of each group
};

}  // namespace levin
