#include "registry.h"

#include <algorithm>
#include <map>

namespace stand_in {
namespace {

const std::byte* bytes_of(const void* data) { return static_cast<const std::byte*>(data); }

bool overlap(const std::byte* a, size_t a_bytes, const std::byte* b, size_t b_bytes) { return a < b + b_bytes && b < a + a_bytes; }

}  // namespace

void* Registry::add(const void* data, size_t bytes, bool window) {
  const std::lock_guard lock(mutex_);
  return entries_.emplace_back(new Entry{bytes_of(data), bytes, window ? free_address(static_cast<int64_t>(bytes)) : -1});
}

int64_t Registry::free_address(int64_t bytes) const {
  std::map<int64_t, int64_t> taken;
  for (const auto* entry : entries_)
    if (entry->window >= 0) taken[entry->window] = entry->window + static_cast<int64_t>(entry->bytes);
  int64_t address = 0;
  for (const auto& [begin, end] : taken) {
    if (address + bytes <= begin) break;
    address = end;
  }
  return address;
}

bool Registry::remove(void* handle) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(entries_.begin(), entries_.end(), handle);
  if (found == entries_.end()) return false;
  delete *found;
  entries_.erase(found);
  return true;
}

Placement Registry::place(const void* input, size_t input_bytes, const void* output, size_t output_bytes) const {
  const std::lock_guard lock(mutex_);
  const auto find = [&](const std::byte* data, size_t bytes, int32_t& registered, int64_t& offset) {
    for (const auto* entry : entries_) {
      if (data < entry->data || data + bytes > entry->data + entry->bytes) continue;
      registered = 1;
      if (entry->window >= 0) offset = entry->window + (data - entry->data);
    }
  };
  Placement placement;
  find(bytes_of(input), input_bytes, placement.input_registered, placement.input_offset);
  find(bytes_of(output), output_bytes, placement.output_registered, placement.output_offset);
  return placement;
}

bool Registry::overlaps(const void* data, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry* entry) { return overlap(bytes_of(data), bytes, entry->data, entry->bytes); });
}

void MemoryInUse::add(const void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  ranges_.push_back({bytes_of(data), bytes});
}

void MemoryInUse::remove(const void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& range) { return range.data == data && range.bytes == bytes; });
  if (found != ranges_.end()) ranges_.erase(found);
}

bool MemoryInUse::overlaps(const void* data, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const Range& range) { return overlap(bytes_of(data), bytes, range.data, range.bytes); });
}

MemoryInUse& memory_in_use() {
  static auto* const ranges = new MemoryInUse;
  return *ranges;
}

}  // namespace stand_in
