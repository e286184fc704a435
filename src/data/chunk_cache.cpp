#include "chunk_cache.h"

namespace levin::detail {

ChunkCache::Bytes ChunkCache::find_or(const Key& key, const std::function<std::vector<std::byte>()>& decode) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(key); found != entries_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      return found->second->bytes;
    }
  }
  auto bytes = std::make_shared<const std::vector<std::byte>>(decode());
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second->bytes;
  recent_.push_front({key, bytes});
  entries_[key] = recent_.begin();
  bytes_ += bytes->size();
  while (bytes_ > most_bytes_ && recent_.size() > 1) {
    bytes_ -= recent_.back().bytes->size();
    entries_.erase(recent_.back().key);
    recent_.pop_back();
  }
  return bytes;
}

}  // namespace levin::detail
