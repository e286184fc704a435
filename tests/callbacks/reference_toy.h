#pragma once
// The training of tests/reference/record_callbacks.py, and what Lightning made of it (callbacks.txt).
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../trainer/toy.h"
#include "levin_test.h"
#include "test_paths.h"

namespace levin::test {

/// 48 samples in micro-batches of 12 over all ranks, which are 1, 2 or 3.
struct ReferenceData : ToyData {
  ReferenceData() : ToyData({.batch_size = 12 / runtime().size(), .shuffle = false}, 48, 48) {}
};

struct ReferenceToy : Toy {
  ReferenceToy() {
    const at::NoGradGuard no_grad;
    net->weight.copy_(at::tensor({0.1, -0.2, 0.3, -0.4}, at::kFloat).view({1, 4}));
    net->bias.fill_(0.5);
    spec = SGD{.lr = 0.05};
  }
};

inline TrainerConfig reference_config(int64_t epochs) {
  TrainerConfig config{.max_epochs = epochs, .num_sanity_val_steps = 0, .log_every_n_steps = 1};
  config.session.precision = Precision::float64;
  return config;
}

/// Weights and bias, under every strategy. Collective.
inline std::vector<double> values_of(Session& session) {
  std::vector<double> values;
  session.read_parameters([&](const std::string&, const Tensor& parameter) {
    const Tensor flat = parameter.cpu().to(at::kDouble).contiguous().view(-1);
    values.insert(values.end(), flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel());
  });
  return values;
}

/// A line of callbacks.txt, or of another file.
inline std::vector<double> recorded(const std::string& name, const std::string& in = "callbacks.txt") {
  std::ifstream file(std::string(LEVIN_TESTS) + "/reference/" + in);
  for (std::string line, word; std::getline(file, line);) {
    std::istringstream words(line);
    words >> word;
    if (word != name) continue;
    std::vector<double> values;
    for (double value = 0; words >> value;) values.push_back(value);
    return values;
  }
  BOOST_FAIL(in << " has no " << name);
  return {};
}

inline void check_recorded(const std::vector<double>& values, const std::string& name, double tolerance = 1e-12,
                           const std::string& in = "callbacks.txt") {
  const auto expected = recorded(name, in);
  BOOST_REQUIRE_MESSAGE(values.size() == expected.size(), name << ": " << values.size() << " values");
  for (size_t i = 0; i < values.size(); i++)
    BOOST_CHECK_MESSAGE(std::abs(values[i] - expected[i]) <= tolerance,
                        name << " " << i << ": " << values[i] << " in place of " << expected[i]);
}

}  // namespace levin::test
