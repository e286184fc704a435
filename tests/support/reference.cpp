#include "reference.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/norm.h>
#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "test_paths.h"

namespace levin::test::reference {
namespace {

constexpr int64_t classes = 10, pixels = 28 * 28;

/// 23 bits of splitmix64.
uint64_t bits(uint64_t stream, uint64_t index) {
  uint64_t z = stream * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return (z ^ (z >> 31)) >> 41;
}

int64_t label(int64_t sample) { return static_cast<int64_t>(bits(1, sample) % classes); }

double number(std::istream& words) {
  double value = 0;
  if (!(words >> value)) throw std::runtime_error("a reference file has a line that is too short");
  return value;
}

std::vector<double> numbers(std::istream& words) {
  std::vector<double> values(static_cast<size_t>(number(words)));
  for (auto& value : values) value = number(words);
  return values;
}

Sampled sampled(std::istream& words) {
  Sampled result;
  words >> result.name;
  result.norm = number(words);
  result.stride = static_cast<int64_t>(number(words));
  result.entries = numbers(words);
  return result;
}

}  // namespace

Tensor images(int64_t first, int64_t count, at::ScalarType dtype) {
  auto result = at::empty({count, 1, 28, 28}, at::kDouble);
  auto* out = result.mutable_data_ptr<double>();
  for (int64_t sample = first; sample < first + count; ++sample)
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      *out++ = static_cast<double>(bits(2, label(sample) * pixels + pixel) + bits(3, sample * pixels + pixel)) / 16777216.0;
  return result.to(dtype);
}

Tensor labels(int64_t first, int64_t count) {
  auto result = at::empty({count}, at::kLong);
  for (int64_t i = 0; i < count; ++i) result.mutable_data_ptr<int64_t>()[i] = label(first + i);
  return result;
}

int64_t token(int64_t i) { return static_cast<int64_t>(bits(4, static_cast<uint64_t>(i % 37)) % 256); }

Tensor weight(uint64_t index, const std::vector<int64_t>& shape, int64_t inputs) {
  auto result = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < result.numel(); ++i)
    result.mutable_data_ptr<double>()[i] =
        (static_cast<double>(bits(100 + index, static_cast<uint64_t>(i))) / 4194304.0 - 1.0) / std::sqrt(static_cast<double>(inputs));
  return result;
}

std::vector<std::pair<std::string, Tensor>> weights(const std::string& model, at::ScalarType dtype) {
  using Shapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;
  const Shapes cnn = {{"conv1.weight", {8, 1, 3, 3}}, {"conv1.bias", {8}},      {"conv2.weight", {16, 8, 3, 3}},
                      {"conv2.bias", {16}},           {"fc.weight", {10, 400}}, {"fc.bias", {10}}};
  const Shapes mlp = {{"fc1.weight", {32, 784}}, {"fc1.bias", {32}},       {"fc2.weight", {16, 32}},
                      {"fc2.bias", {16}},        {"fc3.weight", {10, 16}}, {"fc3.bias", {10}}};
  std::vector<std::pair<std::string, Tensor>> result;
  int64_t inputs = 1;
  for (const auto& [name, shape] : model == "cnn" ? cnn : mlp) {
    if (shape.size() > 1) inputs = c10::multiply_integers(shape) / shape[0];
    result.emplace_back(name, weight(result.size(), shape, inputs).to(dtype));
  }
  return result;
}

Record record(const std::string& name) {
  const std::string path = fmt::format("{}/reference/{}.txt", LEVIN_TESTS, name);
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Record result;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "losses64") result.losses64 = numbers(words);
    if (key == "losses32") result.losses32 = numbers(words);
    if (key == "norm64") result.norm64 = number(words);
    if (key == "norm32") result.norm32 = number(words);
    if (key == "gradient32") result.gradients32.push_back(sampled(words));
    if (key == "weight64") result.weights64.push_back(sampled(words));
  }
  return result;
}

double distance(const Tensor& tensor, const Sampled& recorded) {
  const auto values = tensor.detach().to(at::kDouble).contiguous().view({-1});
  double most = std::abs(values.norm().item<double>() - recorded.norm);
  for (size_t i = 0; i < recorded.entries.size(); ++i)
    most = std::max(most, std::abs(values.const_data_ptr<double>()[i * recorded.stride] - recorded.entries[i]));
  return most / recorded.norm;
}

}  // namespace levin::test::reference
