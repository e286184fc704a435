#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace levin::detail {

/// Decoded chunks of data sets, the last used ones, up to a number of bytes. Used by several threads.
class ChunkCache {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  using Key = std::pair<const void*, int64_t>;  ///< the data set's object, and the chunk's number

  explicit ChunkCache(size_t most_bytes) : most_bytes_(most_bytes) {}

  /// The chunk, decoded by `decode`, outside the lock, where it is not in the cache: threads that ask at once may decode it twice.
  Bytes find_or(const Key& key, const std::function<std::vector<std::byte>()>& decode);

 private:
  struct Entry {
    Key key;
    Bytes bytes;
  };
  std::mutex mutex_;
  size_t most_bytes_, bytes_ = 0;
  std::list<Entry> recent_;  // the last used first
  std::map<Key, std::list<Entry>::iterator> entries_;
};

}  // namespace levin::detail
