#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>

#include "arguments.h"
#include "levin/checkpoint/tensor_source.h"
#include "levin/core/number_text.h"

namespace levin::ckpt {
namespace {

using c10::ScalarType;

template <class T>
double difference(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if constexpr (sizeof(T) < sizeof(int64_t)) {
      return std::abs(static_cast<double>(a) - static_cast<double>(b));
    } else {  // no double holds all of them
      return static_cast<double>(a > b ? static_cast<uint64_t>(a) - static_cast<uint64_t>(b)
                                       : static_cast<uint64_t>(b) - static_cast<uint64_t>(a));
    }
  } else {
    const auto x = static_cast<double>(a), y = static_cast<double>(b);
    if (x == y || (std::isnan(x) && std::isnan(y))) return 0;  // infinities among them
    return std::abs(x - y);
  }
}

// A NaN is larger than any number.
double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

template <class T>
double largest_difference(const std::byte* a, const std::byte* b, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; i++) {
    T x, y;
    std::memcpy(&x, a + i * sizeof(T), sizeof(T));
    std::memcpy(&y, b + i * sizeof(T), sizeof(T));
    largest = larger(difference(x, y), largest);
  }
  return largest;
}

auto largest_difference_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double: return largest_difference<double>;
    case ScalarType::Float: return largest_difference<float>;
    case ScalarType::Half: return largest_difference<c10::Half>;
    case ScalarType::BFloat16: return largest_difference<c10::BFloat16>;
    case ScalarType::Long: return largest_difference<int64_t>;
    case ScalarType::Int: return largest_difference<int32_t>;
    case ScalarType::Short: return largest_difference<int16_t>;
    case ScalarType::Char: return largest_difference<int8_t>;
    case ScalarType::UInt64: return largest_difference<uint64_t>;
    case ScalarType::UInt32: return largest_difference<uint32_t>;
    case ScalarType::UInt16: return largest_difference<uint16_t>;
    default: return largest_difference<uint8_t>;  // and bool
  }
}

double largest_difference(const TensorSource& a, const TensorEntry& in_a, const TensorSource& b, const TensorEntry& in_b) {
  constexpr int64_t chunk = 1 << 18;
  const auto compare = largest_difference_of(in_a.dtype);
  const size_t element = c10::elementSize(in_a.dtype);
  std::vector<std::byte> bytes_a(chunk * element), bytes_b(chunk * element);
  double largest = 0;
  for (int64_t begin = 0, numel = in_a.numel(); begin < numel; begin += chunk) {
    const int64_t end = std::min(numel, begin + chunk);
    const auto count = static_cast<size_t>(end - begin);
    a.read(in_a.name, begin, end, bytes_a.data());
    b.read(in_b.name, begin, end, bytes_b.data());
    if (std::memcmp(bytes_a.data(), bytes_b.data(), count * element) != 0)
      largest = larger(compare(bytes_a.data(), bytes_b.data(), count), largest);
  }
  return largest;
}

}  // namespace

int diff(const Words& words) {
  const auto arguments = read_arguments(
      words, "diff A B", "tensors of two checkpoints, or their weights where one is a safetensors file; exit code 1 where they differ", {});
  if (!arguments) return 0;
  const auto a = open_tensor_source(arguments->words[0]), b = open_tensor_source(arguments->words[1]);
  const bool alike = a->weights_prefix() == b->weights_prefix();
  const auto in_a = a->with_prefix(alike ? "" : a->weights_prefix()), in_b = b->with_prefix(alike ? "" : b->weights_prefix());

  std::vector<std::string> lines;
  std::vector<std::pair<double, std::string>> values;  // NaNs as infinity
  size_t same = 0;
  for (const auto& [name, tensor] : in_a) {
    const auto found = in_b.find(name);
    if (found == in_b.end()) {
      lines.push_back(fmt::format("{} ({}) is in {} alone", name, tensor->form(), a->path().string()));
      continue;
    }
    if (const auto& entry_b = *found->second; tensor->dtype != entry_b.dtype || tensor->shape != entry_b.shape) {
      lines.push_back(fmt::format("{} is {} and {}", name, tensor->form(), entry_b.form()));
    } else if (const double largest = largest_difference(*a, *tensor, *b, entry_b); largest != 0) {
      values.emplace_back(std::isnan(largest) ? INFINITY : largest,
                          fmt::format("{} ({}): {}", name, tensor->form(), value_text(largest, 6)));
    } else {
      same++;
    }
  }
  for (const auto& [name, tensor] : in_b)
    if (!in_a.contains(name)) lines.push_back(fmt::format("{} ({}) is in {} alone", name, tensor->form(), b->path().string()));
  std::stable_sort(values.begin(), values.end(), [](const auto& left, const auto& right) { return left.first > right.first; });
  for (const auto& line : lines) std::cout << line << "\n";
  if (!values.empty()) std::cout << "largest differences:\n";
  for (const auto& [value, line] : values) std::cout << "  " << line << "\n";
  std::cout << fmt::format("{} tensors are the same, {} differ\n", same, lines.size() + values.size());
  return lines.empty() && values.empty() ? 0 : 1;
}

}  // namespace levin::ckpt
