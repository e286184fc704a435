#include "levin/checkpoint/checkpoint_state.h"

#include <fmt/format.h>

#include <limits>

namespace levin {
namespace {

// Saturates: shapes from files or callers may overflow, and are refused elsewhere.
int64_t product(int64_t a, int64_t b) {
  int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}

}  // namespace

int64_t TensorEntry::numel() const {
  int64_t numel = 1;
  for (const int64_t size : shape) numel = product(numel, size);
  return numel;
}

int64_t TensorEntry::bytes() const { return product(numel(), static_cast<int64_t>(c10::elementSize(dtype))); }

std::string TensorEntry::form() const {
  return fmt::format("{} {}", shape.empty() ? "scalar" : fmt::to_string(fmt::join(shape, "x")), c10::getDtypeNames(dtype).first);
}

}  // namespace levin
