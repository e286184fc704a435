#pragma once
#include <torch/nn/modules/container/modulelist.h>

#include <cstdint>
#include <string>
#include <vector>

#include "levin/exported/objective_module.h"

namespace levin::named_models {

enum class Activation { relu, gelu, tanh };
LEVIN_ENUM(Activation, (relu, "relu"), (gelu, "gelu"), (tanh, "tanh"))

struct MlpConfig {
  int64_t inputs = 0;
  int64_t outputs = 1;
  std::vector<int64_t> hidden = {128, 128};
  Activation activation = Activation::relu;
  double dropout = 0;
  std::string input = "x";
  ObjectiveConfig objective = {.loss = "mse(output, y)"};
};
LEVIN_CONFIG(MlpConfig, (inputs, "values of a sample, whatever its shape", at_least(1)), (outputs, "values of the output", at_least(1)),
             (hidden, "widths of the hidden layers", at_least(1)), (activation, "between two layers"),
             (dropout, "part of a hidden layer that is dropped", at_least(0), less_than(1)), (input, "the batch's tensor that it sees"),
             (objective, "what it is trained for; its output is named output", flattened))
LEVIN_CHOICE(MlpConfig, "mlp")

/// Linear layers: [n, ...] of `inputs` values a sample -> output [n, outputs].
class Mlp : public ObjectiveModule {
 public:
  using Config = MlpConfig;
  explicit Mlp(const MlpConfig& config);

 protected:
  Outputs compute(const Batch& batch) override;

 private:
  MlpConfig config_;
  torch::nn::ModuleList layers_;
};

}  // namespace levin::named_models
