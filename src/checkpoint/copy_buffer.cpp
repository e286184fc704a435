#include "copy_buffer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#if __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <thread>

#include "../core/file.h"
#include "levin/core/memory.h"

namespace levin::detail {
namespace {

constexpr size_t alignment_bytes = 64, huge_page_bytes = 2 << 20;

size_t aligned(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// Non-temporal stores: memcpy first reads each destination line into the cache, which adds half the memory traffic. glibc's memcpy uses
// non-temporal stores only for blocks of hundreds of MB.
void copy_non_temporal(std::byte* to, const std::byte* from, size_t bytes) {
  size_t done = 0;
#if __SSE2__
  constexpr size_t line_bytes = 64;
  if (const size_t begin = aligned(reinterpret_cast<uintptr_t>(to), line_bytes) - reinterpret_cast<uintptr_t>(to);
      bytes >= 4 * line_bytes) {
    std::memcpy(to, from, begin);
    for (done = begin; done + line_bytes <= bytes; done += line_bytes) {
      const auto* source = reinterpret_cast<const __m128i*>(from + done);
      auto* target = reinterpret_cast<__m128i*>(to + done);
      const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1), c = _mm_loadu_si128(source + 2),
                    d = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, a), _mm_stream_si128(target + 1, b), _mm_stream_si128(target + 2, c), _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
  }
#endif
  std::memcpy(to + done, from + done, bytes - done);
}

}  // namespace

CopyBuffer::~CopyBuffer() { release(); }

void CopyBuffer::release() noexcept {
  if (memory_) munmap(memory_, bytes_);
  memory_ = nullptr;
  bytes_ = 0;
}

size_t CopyBuffer::bytes_for(const std::vector<Part>& parts) {
  size_t bytes = 0;
  for (const auto& part : parts) bytes += aligned(part.bytes, alignment_bytes);
  return bytes;
}

bool CopyBuffer::map_file(size_t bytes, const std::filesystem::path& directory) {
  const int file = open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  if (file < 0) throw_io_error(fmt::format("cannot create a file in the staging directory {}", directory.string()), errno);
  // Allocate all blocks now: on a full disk the first store into a page would raise SIGBUS.
  if (posix_fallocate(file, 0, static_cast<off_t>(bytes)) == 0)
    if (void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0); start != MAP_FAILED)
      memory_ = static_cast<std::byte*>(start), bytes_ = bytes;
  close(file);
  return memory_;
}

bool CopyBuffer::reserve(size_t bytes, int ranks_on_host, const std::filesystem::path& directory) {
  if (bytes <= bytes_) return true;
  release();
  bytes = aligned(bytes, huge_page_bytes);
  if (!directory.empty()) return map_file(bytes, directory);
  // Linux overcommits: the mmap below would succeed, and the OOM killer would end a process when the pages are touched.
  if (static_cast<size_t>(available_memory() / ranks_on_host) < bytes + bytes / 8) return false;
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return false;
  memory_ = static_cast<std::byte*>(start);
  bytes_ = bytes;
  madvise(start, bytes, MADV_HUGEPAGE);
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, which glibc's headers may not know
  if (madvise(start, bytes, populate_write) == 0) return true;
  if (errno == ENOMEM || errno == EFAULT) {
    release();
    return false;
  }
  std::memset(start, 0, bytes);  // before Linux 5.14
  return true;
}

std::vector<Part> CopyBuffer::copy(std::vector<Part> parts, int threads) {
  struct Piece {
    std::byte* to;
    const std::byte* from;
    size_t bytes;
  };
  std::vector<Piece> pieces;
  size_t offset = 0, total = 0;
  for (auto& part : parts) {
    pieces.push_back({memory_ + offset, part.data, part.bytes});
    part.data = memory_ + offset;
    offset += aligned(part.bytes, alignment_bytes);
    total += part.bytes;
  }
  // Each thread copies bytes [begin, end) of the concatenated pieces.
  const auto copy_range = [&pieces](size_t begin, size_t end) {
    size_t at = 0;
    for (const auto& piece : pieces) {
      const size_t from = std::max(begin, at), to = std::min(end, at + piece.bytes);
      if (from < to) copy_non_temporal(piece.to + (from - at), piece.from + (from - at), to - from);
      at += piece.bytes;
    }
  };
  const auto count = static_cast<size_t>(std::max(threads, 1));
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < count; i++) helpers.emplace_back(copy_range, total * i / count, total * (i + 1) / count);
    copy_range(0, total / count);
  }
  return parts;
}

}  // namespace levin::detail
