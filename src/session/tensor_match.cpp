#include "tensor_match.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "levin/checkpoint/tensor_source.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

// The first few: nobody reads a list of thousands.
void list(std::vector<std::string>& lines, const char* title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  constexpr size_t most = 10;
  std::vector<std::string> first(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(most, names.size())));
  if (names.size() > most) first.push_back(fmt::format("and {} more", names.size() - most));
  lines.push_back(fmt::format("{}: {}", title, joined(first)));
}

void load_part(const StateTensor::Part& part, const TensorSource& source, const TensorEntry& entry) {
  const auto& values = part.values;
  const bool direct = values.is_cpu() && values.is_contiguous() && values.scalar_type() == entry.dtype;
  const Tensor memory = direct ? values : at::empty(values.sizes(), at::TensorOptions(entry.dtype));
  source.read(entry.name, part.slab, memory.mutable_data_ptr());
  if (!direct) values.copy_(memory);
}

}  // namespace

void define_buffers(Strategy& strategy, const std::map<std::string, const TensorEntry*>& offered, const std::string& prefix) {
  strategy.define_buffers([&](const std::string& name) -> std::optional<Strategy::BufferForm> {
    const auto found = offered.find(prefix + name);
    if (found == offered.end()) return std::nullopt;
    return Strategy::BufferForm{found->second->shape, found->second->dtype};
  });
}

TensorMatch::TensorMatch(std::vector<StateTensor> needed, const std::map<std::string, const TensorEntry*>& offered, Conversion conversion)
    : needed_(std::move(needed)) {
  std::set<std::string> known;
  for (const auto& tensor : needed_) {
    known.insert(tensor.name);
    const auto found = offered.find(tensor.name);
    if (found == offered.end()) {
      missing_.push_back(tensor.name);
      continue;
    }
    const TensorEntry& entry = *found->second;
    // fp8 weights usually mean nothing without their scales, which are other tensors.
    const auto is_float = [](at::ScalarType dtype) { return c10::isFloatingType(dtype) && c10::elementSize(dtype) > 1; };
    const bool fp8 = entry.dtype == at::ScalarType::Float8_e4m3fn || entry.dtype == at::ScalarType::Float8_e5m2;
    const bool fits = is_float(entry.dtype) || (fp8 && conversion == Conversion::floating_and_fp8);
    const bool converts = conversion != Conversion::none && fits && is_float(tensor.dtype);
    if (entry.shape == tensor.shape && (entry.dtype == tensor.dtype || converts)) {
      fitting_.emplace_back(&tensor, &entry);
      continue;
    }
    has_fp8_ |= fp8 && !fits;
    different_.push_back(fmt::format("{} is {} in the file and {} in the model", tensor.name, entry.form(),
                                     TensorEntry{tensor.name, tensor.dtype, tensor.shape}.form()));
  }
  for (const auto& [name, entry] : offered)
    if (!known.contains(name)) unexpected_.push_back(name);
}

std::string TensorMatch::differences() const {
  std::vector<std::string> lines;
  list(lines, "missing", missing_);
  list(lines, "unexpected", unexpected_);
  list(lines, "different", different_);
  return fmt::to_string(fmt::join(lines, "; "));
}

void TensorMatch::load(const TensorSource& source) const {
  const at::NoGradGuard no_grad;
  for (const auto& [tensor, entry] : fitting_)
    for (const auto& part : tensor->parts) load_part(part, source, *entry);
}

}  // namespace levin::detail
