#include "window_book.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>

namespace levin::detail {

Tensor WindowBook::add(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.window.expired(); });
  std::byte* begin = window->part(rank);
  entries_.push_back({begin, begin + static_cast<size_t>(numel) * c10::elementSize(dtype), ++windows_, window});
  return at::from_blob(
      begin, {numel}, [window](void*) {}, at::TensorOptions(dtype));
}

WindowBook::Location WindowBook::locate(const Tensor& tensor) const {
  const auto* begin = static_cast<const std::byte*>(tensor.const_data_ptr());
  for (const auto& entry : entries_)
    if (begin >= entry.begin && begin + tensor.nbytes() <= entry.end && !entry.window.expired())
      return {static_cast<uint64_t>(begin - entry.begin), entry.id};
  return {};
}

std::vector<std::byte*> WindowBook::addresses(const std::vector<Location>& locations, int rank, const Tensor& tensor) const {
  const uint32_t id = locations[0].window;
  if (id == 0 || std::any_of(locations.begin(), locations.end(), [&](const Location& location) { return location.window != id; }))
    return {};
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& known) { return known.id == id; });
  const auto window = entry->window.lock();
  std::vector<std::byte*> found;
  for (size_t i = 0; i < locations.size(); i++) found.push_back(window->part(static_cast<int>(i)) + locations[i].offset);
  return found[static_cast<size_t>(rank)] == tensor.const_data_ptr() ? found : std::vector<std::byte*>{};
}

std::pair<const std::byte*, std::shared_ptr<SharedWindow>> WindowBook::find(const Location& location, int rank) const {
  for (const auto& entry : entries_)
    if (location.window != 0 && entry.id == location.window)
      if (auto window = entry.window.lock()) return {window->part(rank) + location.offset, window};
  return {nullptr, nullptr};
}

}  // namespace levin::detail
