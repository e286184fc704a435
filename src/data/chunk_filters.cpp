#include "chunk_filters.h"

#include <zlib.h>

#include <cstring>

namespace levin::detail {
namespace {

// Byte j of all elements stands together: first all first bytes. What does not fill an element stands at the end as it was.
std::vector<std::byte> unshuffled(const std::vector<std::byte>& stored, size_t element_bytes) {
  if (element_bytes <= 1) return stored;
  std::vector<std::byte> out(stored.size());
  const size_t count = stored.size() / element_bytes;
  for (size_t byte = 0; byte < element_bytes; ++byte) {
    const auto* from = stored.data() + byte * count;
    for (size_t i = 0; i < count; ++i) out[i * element_bytes + byte] = from[i];
  }
  const size_t whole = count * element_bytes;
  std::memcpy(out.data() + whole, stored.data() + whole, stored.size() - whole);
  return out;
}

std::vector<std::byte> inflated(const std::vector<std::byte>& stored, size_t bytes) {
  std::vector<std::byte> out(bytes);
  auto length = static_cast<uLongf>(bytes);
  const int status = uncompress(reinterpret_cast<Bytef*>(out.data()), &length, reinterpret_cast<const Bytef*>(stored.data()),
                                static_cast<uLong>(stored.size()));
  if (status != Z_OK || length != bytes) out.clear();
  return out;
}

template <class Word, class Swap>
void swap_words(std::span<std::byte> elements, Swap&& swap) {
  for (size_t at = 0; at + sizeof(Word) <= elements.size(); at += sizeof(Word)) {
    Word word;
    std::memcpy(&word, elements.data() + at, sizeof(Word));
    word = swap(word);
    std::memcpy(elements.data() + at, &word, sizeof(Word));
  }
}

}  // namespace

std::vector<std::byte> undo_filters(std::vector<std::byte> stored, std::span<const ChunkFilter> filters, uint32_t skipped, size_t bytes) {
  for (size_t i = filters.size(); i-- > 0;) {
    if ((skipped >> i) & 1) continue;
    if (filters[i].kind == ChunkFilter::Kind::gzip)
      stored = inflated(stored, bytes);
    else if (stored.size() == bytes)
      stored = unshuffled(stored, filters[i].element_bytes);
    else
      stored.clear();
    if (stored.empty()) return stored;
  }
  if (stored.size() != bytes) stored.clear();
  return stored;
}

void swap_bytes(std::span<std::byte> elements, size_t element_bytes) {
  switch (element_bytes) {
    case 2: return swap_words<uint16_t>(elements, [](uint16_t word) { return __builtin_bswap16(word); });
    case 4: return swap_words<uint32_t>(elements, [](uint32_t word) { return __builtin_bswap32(word); });
    case 8: return swap_words<uint64_t>(elements, [](uint64_t word) { return __builtin_bswap64(word); });
    default: break;
  }
}

}  // namespace levin::detail
