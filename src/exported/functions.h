#pragma once
// The losses and transformations that an expression can name.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "expression.h"
#include "levin/core/tensor.h"

namespace levin::objective {

/// A mean loss; `weight` is the number of its labels if it is not a mean over samples.
struct LossValue {
  Tensor value;
  std::optional<double> weight = {};
};

using Options = std::map<std::string, double>;

struct LossFunction {
  std::vector<std::string> options;  ///< names
  LossValue (*compute)(const Tensor& output, const Tensor& target, const Options& options);
};

/// Scores and class numbers, a row each.
struct Classes {
  Tensor scores;  ///< [rows, classes]
  Tensor labels;  ///< int64 [rows]
};
/// Scores are [n, classes, ...], as in PyTorch, or [n, ..., classes], as of language models; labels are [n, ...]. The option class_dim
/// decides if both fit. DataError for other shapes.
Classes by_class(const Tensor& scores, const Tensor& labels, const Options& options);
/// The target in the output's shape: [n] fits [n, 1]. DataError if more than dimensions of length 1 differ.
Tensor in_shape_of(const Tensor& output, const Tensor& target);
/// ConfigError for a value that is not an integer of 64 bits.
int64_t integer_option(const Options& options, const char* name, int64_t otherwise);

struct OutputFunction {
  std::vector<std::string> options;
  Tensor (*compute)(const Tensor& output, const Options& options);
};

const std::map<std::string, LossFunction>& loss_functions();
const std::map<std::string, OutputFunction>& output_functions();

}  // namespace levin::objective
