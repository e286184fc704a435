#include "functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/binary_cross_entropy.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/huber_loss.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/softmax.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <cmath>

#include "levin/core/error.h"

namespace levin::objective {
namespace {

double option(const Options& options, const char* name, double otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

std::string shape_text(const Tensor& tensor) { return fmt::format("[{}]", fmt::join(tensor.sizes(), ", ")); }

bool fits_class_dim(const Tensor& scores, const Tensor& labels, int64_t dim) {
  auto sizes = scores.sizes().vec();
  sizes.erase(sizes.begin() + dim);
  return labels.sizes() == at::IntArrayRef(sizes);
}

}  // namespace

Tensor in_shape_of(const Tensor& output, const Tensor& target) {
  if (target.sizes() == output.sizes()) return target;
  const auto without_ones = [](at::IntArrayRef sizes) {
    std::vector<int64_t> kept;
    for (const auto size : sizes.slice(std::min<size_t>(1, sizes.size())))
      if (size != 1) kept.push_back(size);
    return kept;
  };
  const bool fits = output.dim() > 0 && target.dim() > 0 && output.size(0) == target.size(0) &&
                    without_ones(output.sizes()) == without_ones(target.sizes());
  if (!fits)
    throw DataError(fmt::format("an output {} is compared with a target {}", shape_text(output), shape_text(target)),
                    "give both one shape, for example by data.shape");
  return target.view(output.sizes());
}

int64_t integer_option(const Options& options, const char* name, int64_t otherwise) {
  const double value = option(options, name, static_cast<double>(otherwise));
  constexpr double limit = 9223372036854775808.0;  // 2^63
  if (value < -limit || value >= limit || std::trunc(value) != value)
    throw ConfigError(fmt::format("{} is {}, not an integer", name, value), "give an integer of 64 bits");
  return static_cast<int64_t>(value);
}

Classes by_class(const Tensor& scores, const Tensor& given, const Options& options) {
  const Tensor labels = given.dim() == scores.dim() && given.size(-1) == 1 ? given.squeeze(-1) : given;
  const int64_t last = scores.dim() - 1;
  if (last < 1 || labels.dim() != last || !c10::isIntegralType(labels.scalar_type(), /*includeBool=*/true))
    throw DataError(
        fmt::format("the scores are {}, the labels {} {}", shape_text(scores), shape_text(given), c10::toString(given.scalar_type())),
        "labels are integers of the scores' shape without the dimension of the classes; data.dtype converts them");
  const bool first_fits = fits_class_dim(scores, labels, 1), last_fits = last > 1 && fits_class_dim(scores, labels, last);
  int64_t dim = first_fits ? 1 : last;
  if (options.contains("class_dim")) {
    dim = integer_option(options, "class_dim", 1);
    dim = dim < 0 ? dim + scores.dim() : dim;
    if (dim < 1 || dim > last)
      throw ConfigError(fmt::format("class_dim is not a dimension of scores {}", shape_text(scores)), "give 1 or -1");
  } else if (first_fits && last_fits) {
    throw DataError(
        fmt::format("the classes of scores {} with labels {} may be dimension 1 or {}", shape_text(scores), shape_text(labels), last),
        "write class_dim=1 or class_dim=-1 into the expression");
  }
  if (!fits_class_dim(scores, labels, dim))
    throw DataError(fmt::format("the scores are {}, the labels {}", shape_text(scores), shape_text(labels)),
                    "labels have the scores' shape without the dimension of the classes");
  const Tensor rows = scores.movedim(dim, -1).reshape({-1, scores.size(dim)});
  return {rows, labels.reshape({-1}).to(at::kLong)};
}

namespace {

struct Compared {
  Tensor output, target;
};

// In mixed precision the output may have 16 bits: rounded to them, a target of 1013 is 1012 in bfloat16, and one of 70000 infinite in
// float16.
Compared in_common_dtype(const Tensor& output, const Tensor& target) {
  const auto least = c10::isFloatingType(target.scalar_type()) ? target.scalar_type() : at::kFloat;
  const auto common = c10::promoteTypes(output.scalar_type(), least);
  return {output.to(common), in_shape_of(output, target).to(common)};
}

// The mean over the labels that count, with their number where the option names which do not.
template <class Compute>
LossValue over_labels(const Classes& classes, const Options& options, Compute&& compute) {
  const int64_t ignored = integer_option(options, "ignore_index", -100);
  if (!options.contains("ignore_index")) return {compute(classes, at::Reduction::Mean, ignored)};
  const auto known = classes.labels.ne(ignored).sum();
  return {compute(classes, at::Reduction::Sum, ignored) / known.clamp_min(1), known.template item<double>()};
}

LossValue cross_entropy(const Tensor& output, const Tensor& target, const Options& options) {
  const double smoothing = option(options, "label_smoothing", 0);
  if (c10::isFloatingType(target.scalar_type()) && target.sizes() == output.sizes() && output.dim() > 1)  // probabilities of the classes
    return {at::cross_entropy_loss(output, target, {}, at::Reduction::Mean, -100, smoothing)};
  return over_labels(by_class(output, target, options), options, [&](const Classes& classes, int64_t reduction, int64_t ignored) {
    return at::cross_entropy_loss(classes.scores, classes.labels, {}, reduction, ignored, smoothing);
  });
}

LossValue nll(const Tensor& output, const Tensor& target, const Options& options) {
  return over_labels(by_class(output, target, options), options, [](const Classes& classes, int64_t reduction, int64_t ignored) {
    return at::nll_loss(classes.scores, classes.labels, {}, reduction, ignored);
  });
}

LossValue mse(const Tensor& given, const Tensor& wanted, const Options&) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::mse_loss(output, target)};
}
LossValue l1(const Tensor& given, const Tensor& wanted, const Options&) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::l1_loss(output, target)};
}
LossValue smooth_l1(const Tensor& given, const Tensor& wanted, const Options& options) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::smooth_l1_loss(output, target, at::Reduction::Mean, option(options, "beta", 1))};
}
LossValue huber(const Tensor& given, const Tensor& wanted, const Options& options) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::huber_loss(output, target, at::Reduction::Mean, option(options, "delta", 1))};
}
LossValue bce(const Tensor& given, const Tensor& wanted, const Options&) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::binary_cross_entropy(output, target)};
}
LossValue bce_with_logits(const Tensor& given, const Tensor& wanted, const Options&) {
  const auto [output, target] = in_common_dtype(given, wanted);
  return {at::binary_cross_entropy_with_logits(output, target)};
}

int64_t class_dim(const Options& options) { return integer_option(options, "dim", 1); }

}  // namespace

const std::map<std::string, LossFunction>& loss_functions() {
  static const std::map<std::string, LossFunction> functions{
      {"cross_entropy", {{"label_smoothing", "ignore_index", "class_dim"}, cross_entropy}},
      {"nll", {{"ignore_index", "class_dim"}, nll}},
      {"mse", {{}, mse}},
      {"l1", {{}, l1}},
      {"smooth_l1", {{"beta"}, smooth_l1}},
      {"huber", {{"delta"}, huber}},
      {"bce", {{}, bce}},
      {"bce_with_logits", {{}, bce_with_logits}},
  };
  return functions;
}

const std::map<std::string, OutputFunction>& output_functions() {
  static const std::map<std::string, OutputFunction> functions{
      {"softmax", {{"dim"}, [](const Tensor& output, const Options& options) { return at::softmax(output, class_dim(options)); }}},
      {"log_softmax", {{"dim"}, [](const Tensor& output, const Options& options) { return at::log_softmax(output, class_dim(options)); }}},
      {"argmax", {{"dim"}, [](const Tensor& output, const Options& options) { return at::argmax(output, class_dim(options)); }}},
      {"sigmoid", {{}, [](const Tensor& output, const Options&) { return at::sigmoid(output); }}},
  };
  return functions;
}

}  // namespace levin::objective
