#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

struct PerplexityConfig {
  std::optional<int64_t> ignore_index = {};
};
LEVIN_CONFIG(PerplexityConfig, (ignore_index, "tokens of this label do not count"))

/// exp of the mean of -log p over all tokens, where p is the softmax of a token's scores at its label; NaN before the first token. The
/// sum is exact (ExactSum).
class Perplexity : public PredictionMetric {
 public:
  using Config = PerplexityConfig;
  explicit Perplexity(const PerplexityConfig& config = {});

  /// Scores are floating [..., vocabulary], of half precision computed in float32; labels are integral [...].
  void update(const Tensor& scores, const Tensor& labels) override;

  /// Float64, without dimensions. DataError after an update with a label that is neither in the vocabulary nor ignore_index.
  Tensor compute() const override;

 private:
  PerplexityConfig config_;
  MetricState& sum_;
  MetricState& count_;
  MetricState& invalid_;
};

}  // namespace levin
