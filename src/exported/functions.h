#pragma once
// The losses and transformations that an expression can name.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "expression.h"
#include "levin/core/tensor.h"

namespace levin::objective {

/// A mean loss, and what it is a mean over where that is not the samples.
struct LossValue {
  Tensor value;
  std::optional<double> weight = {};
};

using Options = std::map<std::string, double>;

struct LossFunction {
  std::vector<std::string> options;  ///< that it has
  LossValue (*compute)(const Tensor& output, const Tensor& target, const Options& options);
};

/// Scores and class numbers, a row each.
struct Classes {
  Tensor scores;  ///< [rows, classes]
  Tensor labels;  ///< int64 [rows]
};
/// Of scores [n, classes, ...], as PyTorch has them, or [n, ..., classes], as language models do, and labels [n, ...]; the option class_dim
/// decides where both fit. DataError for other shapes.
Classes by_class(const Tensor& scores, const Tensor& labels, const Options& options);
/// ConfigError for a fraction.
int64_t integer_option(const Options& options, const char* name, int64_t otherwise);

struct OutputFunction {
  std::vector<std::string> options;
  Tensor (*compute)(const Tensor& output, const Options& options);
};

const std::map<std::string, LossFunction>& loss_functions();
const std::map<std::string, OutputFunction>& output_functions();

}  // namespace levin::objective
