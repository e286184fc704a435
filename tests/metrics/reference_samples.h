#pragma once
// The predictions and targets of tests/reference/record_metrics.py, by the same names, and what torchmetrics computed from them.
#include <ATen/ops/floor.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/one_hot.h>
#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config_value.h"
#include "reference.h"
#include "test_paths.h"

namespace levin::test {

/// In [-1, 1).
inline Tensor uniform(uint64_t index, const std::vector<int64_t>& shape) { return reference::weight(index, shape, 1); }

inline Tensor integers(uint64_t index, int64_t below, const std::vector<int64_t>& shape) {
  return uniform(index, shape).add(1).div(2).mul(below).floor().to(at::kLong);
}

/// Every seventh label is `index`.
inline Tensor ignored(const Tensor& labels, int64_t index) {
  auto copy = labels.clone();
  for (int64_t i = 0; i < copy.numel(); i += 7) copy.view({-1}).mutable_data_ptr<int64_t>()[i] = index;
  return copy;
}

inline std::map<std::string, std::pair<Tensor, Tensor>> metric_samples() {
  constexpr int64_t n = 200;
  std::map<std::string, std::pair<Tensor, Tensor>> found;
  const auto classes = integers(0, 5, {n}), logits = uniform(1, {n, 5}).mul(3).add(at::one_hot(classes, 5), 1.5);
  found["classes"] = {logits, classes};
  found["classes_ignored"] = {logits, ignored(classes, -1)};
  found["classes_tied"] = {uniform(2, {n, 5}).add(1).mul(8).floor().div(16), classes};
  found["chosen"] = {integers(3, 5, {n}), classes};
  found["images"] = {uniform(4, {20, 5, 2, 5}).mul(2), integers(5, 5, {20, 2, 5})};
  found["rare"] = {uniform(6, {n, 6}).mul(2), classes};
  const auto ones = integers(7, 2, {n}), several = integers(11, 2, {n, 3});
  found["binary"] = {uniform(8, {n}).add(1).add(ones).mul(8).floor().div(32), ones};
  found["binary_ignored"] = {found["binary"].first, ignored(ones, -1)};
  found["binary_logits"] = {uniform(9, {n}).mul(4).add(ones), ones};
  found["binary_chosen"] = {integers(10, 2, {n}), ones};
  found["labels"] = {uniform(12, {n, 3}).add(1).add(several).mul(8).floor().div(32), several};
  found["labels_ignored"] = {found["labels"].first, ignored(several, -1)};
  found["labels_logits"] = {uniform(13, {n, 3}).mul(4).add(several), several};
  const auto targets = uniform(14, {n, 2}).add(3);
  found["outputs"] = {targets.add(uniform(15, {n, 2}).div(4)), targets};
  found["values"] = {found["outputs"].first.select(1, 0), targets.select(1, 0)};
  const auto tokens = integers(16, 11, {40, 5});
  found["tokens"] = {uniform(17, {40, 5, 11}).mul(3), tokens};
  found["tokens_ignored"] = {found["tokens"].first, ignored(tokens, -100)};
  return found;
}

/// Terms of both signs, from 2^-300 to 2^300.
inline std::vector<double> exact_terms() {
  const auto values = uniform(18, {1000}), exponents = integers(19, 600, {1000});
  std::vector<double> terms;
  for (int64_t i = 0; i < 1000; ++i)
    terms.push_back(std::ldexp(values.const_data_ptr<double>()[i], static_cast<int>(exponents.const_data_ptr<int64_t>()[i]) - 300));
  return terms;
}

struct RecordedMetric {
  std::string line;  ///< for messages
  std::string data;
  std::string metric;
  ConfigValue config;  ///< {name: …} with its options
  std::vector<double> values;
};

inline std::vector<RecordedMetric> recorded_metrics() {
  const std::string path = fmt::format("{}/reference/metrics.txt", LEVIN_TESTS);
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<RecordedMetric> all;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    RecordedMetric recorded{.line = line.substr(0, 110), .data = {}, .metric = {}, .config = ConfigValue::map(), .values = {}};
    std::istringstream words(line);
    std::string options, option;
    size_t count = 0;
    words >> recorded.data >> recorded.metric >> options >> count;
    recorded.config.add("name", ConfigValue::scalar(recorded.metric));
    std::istringstream each(options == "-" ? "" : options);
    while (std::getline(each, option, ',')) {
      const auto equals = option.find('=');
      recorded.config.add(option.substr(0, equals), ConfigValue::scalar(option.substr(equals + 1)));
    }
    for (std::string value; words >> value;) recorded.values.push_back(std::strtod(value.c_str(), nullptr));
    if (recorded.values.size() != count) throw std::runtime_error("damaged line: " + line);
    all.push_back(std::move(recorded));
  }
  return all;
}

}  // namespace levin::test
