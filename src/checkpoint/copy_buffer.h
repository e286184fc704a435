#pragma once
#include <cstddef>
#include <filesystem>
#include <vector>

#include "block_writer.h"

namespace levin::detail {

/// The staging buffer of background saves: memory, or a mapped file. It grows only, and reserve() faults its pages in, so a copy costs no
/// more than a memcpy.
class CopyBuffer {
 public:
  CopyBuffer() = default;
  ~CopyBuffer();
  CopyBuffer(const CopyBuffer&) = delete;
  CopyBuffer& operator=(const CopyBuffer&) = delete;

  /// False if the memory of this host, which `ranks_on_host` ranks share, cannot hold `bytes` for each of them. With a `directory`, the
  /// buffer is an unnamed file there, which vanishes with the process. IoError if no file can be created in it.
  bool reserve(size_t bytes, int ranks_on_host, const std::filesystem::path& directory = {});
  /// Copies the parts by `threads` threads, and returns them with `data` pointing into the buffer.
  std::vector<Part> copy(std::vector<Part> parts, int threads);

  /// Size of the buffer that the parts need.
  static size_t bytes_for(const std::vector<Part>& parts);

 private:
  void release() noexcept;
  bool map_file(size_t bytes, const std::filesystem::path& directory);

  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace levin::detail
