#include "levin/core/batch.h"

#include "levin/core/error.h"

namespace levin {

Batch::Batch(std::initializer_list<std::pair<std::string, Tensor>> tensors) : tensors_(tensors) {}

const Tensor& Batch::operator[](std::string_view name) const {
  for (const auto& [key, tensor] : tensors_)
    if (key == name) return tensor;
  std::string names;
  for (const auto& [key, tensor] : tensors_) names += (names.empty() ? "" : ", ") + key;
  throw UsageError("data", fmt::format("the batch has no tensor \"{}\"", name), fmt::format("it has: {}", names.empty() ? "none" : names));
}

bool Batch::contains(std::string_view name) const noexcept {
  for (const auto& [key, tensor] : tensors_)
    if (key == name) return true;
  return false;
}

void Batch::set(std::string_view name, Tensor tensor) {
  for (auto& [key, existing] : tensors_)
    if (key == name) {
      existing = std::move(tensor);
      return;
    }
  tensors_.emplace_back(name, std::move(tensor));
}

int64_t Batch::size() const { return tensors_.empty() || tensors_.front().second.dim() == 0 ? 0 : tensors_.front().second.size(0); }

}  // namespace levin
