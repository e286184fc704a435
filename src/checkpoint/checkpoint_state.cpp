#include "levin/checkpoint/checkpoint_state.h"

namespace levin {

int64_t TensorEntry::numel() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

int64_t TensorEntry::bytes() const { return numel() * static_cast<int64_t>(c10::elementSize(dtype)); }

}  // namespace levin
