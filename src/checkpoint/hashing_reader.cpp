#include "hashing_reader.h"

#include <algorithm>
#include <cstring>

namespace levin::detail {

void HashingReader::add(uint64_t begin, uint64_t end, uint64_t wanted_begin, uint64_t wanted_end, std::byte* to) {
  constexpr uint64_t chunk_bytes = 128 << 10;
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

}  // namespace levin::detail
