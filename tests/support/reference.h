#pragma once
// What PyTorch made of small trainings (tests/reference/*.txt), and the data and first weights that it had: tests/reference/record.py
// says how they are made, and names the cases with their optimizers.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace levin::test::reference {

/// One epoch is 640 samples in order, in batches of 64.
constexpr int64_t samples = 640, batch_size = 64, batches_per_epoch = samples / batch_size;

/// Samples first … first + count - 1 of the epoch: [count, 1, 28, 28], fp32 or fp64.
Tensor images(int64_t first, int64_t count, at::ScalarType dtype);
/// Their classes: [count], int64.
Tensor labels(int64_t first, int64_t count);
/// The first weights of "cnn" (conv1, conv2, fc) or "mlp" (fc1, fc2, fc3), in PyTorch's order, under PyTorch's names.
std::vector<std::pair<std::string, Tensor>> weights(const std::string& model, at::ScalarType dtype);

/// Token i of the text that a GPT learns: 32 windows of 16, and one more.
int64_t token(int64_t i);
/// The first weights of a parameter by its place in the model's list, fp64: uniform in ±1/sqrt(inputs).
Tensor weight(uint64_t index, const std::vector<int64_t>& shape, int64_t inputs);

/// A parameter, or its gradient: its norm, and its entries 0, stride, 2 stride, ... (16 at most).
struct Sampled {
  std::string name;
  double norm = 0;
  int64_t stride = 1;
  std::vector<double> entries;
};

struct Record {
  std::vector<double> losses64;      ///< 64-true, of 100 batches, of a GPT 50
  std::vector<double> losses32;      ///< 32-true, of 10 batches
  double norm64 = 0, norm32 = 0;     ///< of all gradients of the first step, before clipping
  std::vector<Sampled> gradients32;  ///< of the first step, before clipping
  std::vector<Sampled> weights64;    ///< after the last batch
};

/// The record of a case, say "cnn_sgd"; throws std::runtime_error when there is none.
Record record(const std::string& name);

/// The largest difference of a tensor from what was recorded, as a part of the recorded norm.
double distance(const Tensor& tensor, const Sampled& recorded);

}  // namespace levin::test::reference
