#pragma once
#include <torch/nn/modules/container/modulelist.h>

#include <map>
#include <string>

#include "block.h"
#include "levin/callbacks/throughput_monitor.h"
#include "levin/trainer/module.h"
#include "sampling.h"

namespace gpt {

struct GptConfig {
  GptShape shape = {};
  int64_t context = 128;
  int64_t vocabulary = 256;
  double lr = 1e-3;
  double min_lr = 1e-4;
  double beta2 = 0.95;
  double weight_decay = 0.1;
  int64_t warmup = 100;
  SamplingConfig sampling = {};
};
LEVIN_CONFIG(GptConfig, (shape, "form of the network", flattened), (context, "tokens that the model sees at once", at_least(1)),
             (vocabulary, "different tokens; bytes are 256", at_least(1)), (lr, "peak learning rate", greater_than(0)),
             (min_lr, "last learning rate, at the end of the cosine", at_least(0)),
             (beta2, "AdamW's decay of the mean square", at_least(0), less_than(1)),
             (weight_decay, "AdamW's, of matrices alone", at_least(0)), (warmup, "steps until the peak learning rate", at_least(0)),
             (sampling, "how predict makes text", flattened))
LEVIN_CHOICE(GptConfig, "gpt")

/// A GPT (Radford et al., 2019): pre-norm blocks, causal attention, the token embedding used again as the output. Batches have "input" and
/// "target", int64 [n, T], T at most the context; to predict, "input" [n, longest] filled up on the right, and "length" [n].
class Gpt : public levin::Module, public levin::CountsWork {
 public:
  using Config = GptConfig;
  explicit Gpt(const GptConfig& config);

  /// tokens [n, T] -> logits [n, T, vocabulary].
  Tensor forward(const Tensor& tokens);

  Tensor training_step(const levin::Batch& batch) override;
  void validation_step(const levin::Batch& batch) override;
  void test_step(const levin::Batch& batch) override;
  /// [n, longest + sampling.tokens]: each prompt with its continuation, filled up with -1. The same on any number of ranks.
  Tensor predict_step(const levin::Batch& batch) override;
  void on_predict_start() override { texts_.clear(); }
  /// Writes all ranks' texts into samples.txt in the run's folder, and shows them; rank 0.
  void on_predict_end() override;
  std::vector<levin::OptimizerSpec> configure_optimizers() override;

  double flops_per_batch(const levin::Batch& batch) const override;
  double items_per_batch(const levin::Batch& batch) const override { return static_cast<double>(batch["input"].numel()); }

  /// How many parameters a model of this form has, without making it.
  static int64_t parameters_of(const GptConfig& config);

 private:
  Tensor loss(const levin::Batch& batch);
  void evaluate(const char* stage, const levin::Batch& batch);

  GptConfig config_;
  Tensor tokens_, places_;
  torch::nn::ModuleList blocks_;
  Norm norm_;
  std::map<int64_t, std::string> texts_;  // this rank's predictions, by sample
};

}  // namespace gpt
