#include "copy_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

namespace levin::detail {
namespace {

constexpr size_t alignment_bytes = 64, huge_page_bytes = 2 << 20;

size_t aligned(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// What is free on the machine and in the control group (a batch job's or a container's share).
size_t available_bytes() {
  size_t available = std::numeric_limits<size_t>::max();
  std::ifstream machine("/proc/meminfo");
  for (std::string name, rest; machine >> name && std::getline(machine, rest);)
    if (name == "MemAvailable:") available = std::strtoull(rest.c_str(), nullptr, 10) * 1024;
  size_t limit = 0, used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used)
    available = std::min(available, limit > used ? limit - used : 0);
  return available;
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

bool CopyBuffer::reserve(size_t bytes, int neighbours) {
  if (bytes <= bytes_) return true;
  release();
  bytes = aligned(bytes, huge_page_bytes);
  // Without a look first, the kernel would grant it and end somebody when it is filled.
  if (available_bytes() / static_cast<size_t>(neighbours) < bytes + bytes / 8) return false;
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
  size_t place = 0, total = 0;
  for (auto& part : parts) {
    pieces.push_back({memory_ + place, part.data, part.bytes});
    part.data = memory_ + place;
    place += aligned(part.bytes, alignment_bytes);
    total += part.bytes;
  }
  // Each thread copies a stretch [begin, end) of all the bytes.
  const auto copy_stretch = [&pieces](size_t begin, size_t end) {
    size_t at = 0;
    for (const auto& piece : pieces) {
      const size_t from = std::max(begin, at), to = std::min(end, at + piece.bytes);
      if (from < to) std::memcpy(piece.to + (from - at), piece.from + (from - at), to - from);
      at += piece.bytes;
    }
  };
  const auto count = static_cast<size_t>(std::max(threads, 1));
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < count; i++) helpers.emplace_back(copy_stretch, total * i / count, total * (i + 1) / count);
    copy_stretch(0, total / count);
  }
  return parts;
}

}  // namespace levin::detail
