#include "hashing_reader.h"

#include <algorithm>
#include <cstring>

namespace levin::detail {

void HashingReader::add(uint64_t begin, uint64_t end, uint64_t wanted_begin, uint64_t wanted_end, std::byte* to) {
  while (begin < end) {
    const bool inside = begin >= wanted_begin && begin < wanted_end;
    const uint64_t chunk_end = std::min({begin + chunk_bytes, end, inside ? wanted_end : begin < wanted_begin ? wanted_begin : end});
    const uint64_t bytes = chunk_end - begin;
    if (!inside && memory_.empty()) memory_.resize(chunk_bytes);
    std::byte* target = inside ? to + (begin - wanted_begin) : memory_.data();
    file_.read_at(target, bytes, begin);
    hash_.add(target, bytes);
    begin = chunk_end;
  }
}

void HashingReader::add_each(uint64_t begin, uint64_t end,
                             const std::function<void(uint64_t begin, const std::byte* bytes, uint64_t count)>& use) {
  memory_.resize(chunk_bytes);
  for (uint64_t count = 0; begin < end; begin += count) {
    count = std::min(chunk_bytes, end - begin);
    file_.read_at(memory_.data(), count, begin);
    hash_.add(memory_.data(), count);
    use(begin, memory_.data(), count);
  }
}

}  // namespace levin::detail
