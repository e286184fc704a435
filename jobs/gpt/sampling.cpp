#include "sampling.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>

namespace gpt {
namespace {

using levin::Tensor;

/// Draws one token from the logits, which it writes to.
int64_t draw(std::span<double> logits, const SamplingConfig& config, std::mt19937_64& random) {
  const auto most = std::max_element(logits.begin(), logits.end());
  if (config.temperature == 0) return most - logits.begin();
  double least = -std::numeric_limits<double>::infinity();
  if (config.top_k > 0 && config.top_k < std::ssize(logits)) {
    std::vector<double> sorted(logits.begin(), logits.end());
    std::nth_element(sorted.begin(), sorted.begin() + (config.top_k - 1), sorted.end(), std::greater<>());
    least = sorted[static_cast<size_t>(config.top_k - 1)];
  }
  const double top = *most;
  double sum = 0;
  for (auto& logit : logits) sum += logit = logit < least ? 0 : std::exp((logit - top) / config.temperature);
  double left = static_cast<double>(random() >> 11) * 0x1p-53 * sum;
  for (int64_t token = 0; token < std::ssize(logits); token++)
    if ((left -= logits[static_cast<size_t>(token)]) < 0) return token;
  return most - logits.begin();
}

// The last tokens of each text, at most `context` of them, side by side.
Tensor windows_of(const std::vector<std::vector<int64_t>>& texts, size_t context) {
  size_t longest = 1;
  for (const auto& text : texts) longest = std::max(longest, std::min(text.size(), context));
  Tensor windows = at::zeros({std::ssize(texts), static_cast<int64_t>(longest)}, at::kLong);
  auto* out = windows.mutable_data_ptr<int64_t>();
  for (const auto& text : texts) {
    std::copy(text.end() - static_cast<std::ptrdiff_t>(std::min(text.size(), longest)), text.end(), out);
    out += longest;
  }
  return windows;
}

}  // namespace

Tensor sample(const Tensor& input, const Tensor& length, const std::vector<int64_t>& numbers, int64_t context, uint64_t seed,
              const SamplingConfig& config, const std::function<Tensor(const Tensor&)>& logits) {
  const Tensor prompts = input.to(at::kCPU).contiguous(), lengths = length.to(at::kCPU).contiguous();
  const auto rows = static_cast<size_t>(prompts.size(0));
  std::vector<std::vector<int64_t>> texts;
  std::vector<std::mt19937_64> random;
  for (size_t row = 0; row < rows; row++) {
    const auto* begin = prompts.const_data_ptr<int64_t>() + row * static_cast<size_t>(prompts.size(1));
    texts.emplace_back(begin, begin + lengths.const_data_ptr<int64_t>()[row]);
    std::seed_seq mixed{seed & 0xFFFFFFFF, seed >> 32, static_cast<uint64_t>(numbers[row])};
    random.emplace_back(mixed);
  }
  for (int64_t step = 0; step < config.tokens; step++) {
    const Tensor windows = windows_of(texts, static_cast<size_t>(context));
    const Tensor all = logits(windows.to(input.device()));
    std::vector<Tensor> newest;
    for (size_t row = 0; row < rows; row++)
      newest.push_back(all[static_cast<int64_t>(row)][std::min(std::ssize(texts[row]), windows.size(1)) - 1]);
    const Tensor next = at::stack(newest).to(at::kCPU, at::kDouble).contiguous();
    const auto width = static_cast<size_t>(next.size(1));
    for (size_t row = 0; row < rows; row++)
      texts[row].push_back(draw({next.mutable_data_ptr<double>() + row * width, width}, config, random[row]));
  }
  Tensor result = at::full({prompts.size(0), prompts.size(1) + config.tokens}, -1, at::kLong);
  for (size_t row = 0; row < rows; row++)
    std::copy(texts[row].begin(), texts[row].end(), result.mutable_data_ptr<int64_t>() + row * static_cast<size_t>(result.size(1)));
  return result;
}

std::string text_of(const Tensor& row) {
  std::string text;
  const Tensor tokens = row.contiguous();
  for (const int64_t token : std::span(tokens.const_data_ptr<int64_t>(), static_cast<size_t>(tokens.numel())))
    if (token >= 0) text += static_cast<char>(token);
  return text;
}

std::map<int64_t, std::string> gather_texts(const std::map<int64_t, std::string>& mine, levin::Communicator& communicator) {
  const Tensor sizes = at::zeros({2}, at::kLong);  // how many numbers there are, and the longest text
  auto* most = sizes.mutable_data_ptr<int64_t>();
  for (const auto& [number, text] : mine) {
    most[0] = std::max(most[0], number + 1);
    most[1] = std::max(most[1], std::ssize(text));
  }
  communicator.all_reduce(sizes, levin::ReduceOp::max).wait();
  const int64_t count = most[0], width = most[1] + 1;
  if (count == 0) return {};
  const Tensor table = at::zeros({count, width}, at::kLong);  // a length, and bytes
  auto* cells = table.mutable_data_ptr<int64_t>();
  for (const auto& [number, text] : mine) {
    cells[number * width] = std::ssize(text);
    for (size_t i = 0; i < text.size(); i++) cells[number * width + 1 + static_cast<int64_t>(i)] = static_cast<unsigned char>(text[i]);
  }
  communicator.all_reduce(table).wait();
  std::map<int64_t, std::string> all;
  for (int64_t number = 0; number < count; number++)
    if (const int64_t length = cells[number * width]; length > 0) all[number] = text_of(table[number].narrow(0, 1, length));
  return all;
}

}  // namespace gpt
