#include "levin/metrics/r2_score.h"

#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <vector>

#include "class_samples.h"
#include "levin/core/error.h"
#include "levin/metrics/exact_sum.h"
#include "regression.h"

namespace levin {
namespace {

const R2ScoreConfig& checked(const R2ScoreConfig& config) {
  check_config(config);
  return config;
}

// x² = square + error, exactly, unless a part of it underflows: Veltkamp's and Dekker's splitting.
std::pair<Tensor, Tensor> exact_squares(const Tensor& x) {
  const auto scaled = x.mul(134217729.0);  // 2^27 + 1
  const auto high = scaled.sub(scaled.sub(x)), low = x.sub(high), square = x.mul(x);
  const auto error = high.mul(high).sub(square).add(high.mul(low), 2).add(low.mul(low));
  return {square, error};
}

long double whole_sum(const Tensor& state, int64_t index) {
  return static_cast<long double>(ExactSum::total(state, index)) + ExactSum::remainder(state, index);
}

}  // namespace

R2Score::R2Score(const R2ScoreConfig& config)
    : config_(checked(config)),
      residuals_(add_state("residuals", StateReduction::sum, ExactSum::zero(config_.num_outputs))),
      targets_(add_state("targets", StateReduction::sum, ExactSum::zero(config_.num_outputs))),
      squares_(add_state("squares", StateReduction::sum, ExactSum::zero(config_.num_outputs))),
      count_(add_state("count", StateReduction::sum, at::zeros({}, at::kLong))) {}

void R2Score::update(const Tensor& predictions, const Tensor& targets) {
  const bool fits = targets.dim() == 2 ? targets.size(1) == config_.num_outputs : targets.dim() == 1 && config_.num_outputs == 1;
  if (!fits)
    throw UsageError("metrics", fmt::format("R2Score: targets are {}, num_outputs is {}", detail::shape_text(targets), config_.num_outputs),
                     "give targets [n, num_outputs], or [n] for one output");
  const auto errors = detail::differences("R2Score", predictions, targets);
  const auto observed = targets.detach().to(at::kDouble);
  const auto [squares, rest] = exact_squares(observed);
  ExactSum(residuals_).add(errors.mul(errors));
  ExactSum(targets_).add(observed);
  ExactSum(squares_).add(squares);
  ExactSum(squares_).add(rest);
  count_.value.add_(targets.size(0));
}

Tensor R2Score::compute() const {
  const auto count = count_.value.item<int64_t>();
  const auto samples = static_cast<long double>(count);
  std::vector<double> scores;
  double sum = 0, variances = 0;
  for (int64_t output = 0; output < config_.num_outputs; ++output) {
    const long double mean = whole_sum(targets_.value, output) / samples;
    const auto deviations = static_cast<double>(whole_sum(squares_.value, output) - mean * mean * samples);
    const double residuals = ExactSum::total(residuals_.value, output);
    double score = residuals == 0 ? 1 : deviations > 0 ? 1 - residuals / deviations : 0;
    if (std::isnan(residuals) || std::isnan(deviations) || count < 2) score = std::numeric_limits<double>::quiet_NaN();
    const double weight = config_.multioutput == OutputAverage::variance_weighted ? deviations : 1;
    sum += weight * score, variances += weight;
    scores.push_back(score);
  }
  const auto adjusted = [&](double score) {
    if (config_.adjusted == 0 || count - config_.adjusted - 1 <= 0) return score;
    return 1 - (1 - score) * static_cast<double>(count - 1) / static_cast<double>(count - config_.adjusted - 1);
  };
  if (config_.multioutput != OutputAverage::raw_values) return at::scalar_tensor(adjusted(sum / variances), at::kDouble);
  for (auto& score : scores) score = adjusted(score);
  return at::tensor(scores, at::kDouble);
}

}  // namespace levin
