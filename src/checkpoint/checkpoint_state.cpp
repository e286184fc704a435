#include "levin/checkpoint/checkpoint_state.h"

#include <fmt/format.h>

namespace levin {

int64_t TensorEntry::numel() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

int64_t TensorEntry::bytes() const { return numel() * static_cast<int64_t>(c10::elementSize(dtype)); }

std::string TensorEntry::form() const {
  return fmt::format("{} {}", shape.empty() ? "scalar" : fmt::to_string(fmt::join(shape, "x")), c10::getDtypeNames(dtype).first);
}

}  // namespace levin
