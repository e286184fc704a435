#pragma once
#include <cstddef>
#include <filesystem>
#include <vector>

#include "block_writer.h"

namespace levin::detail {

/// Memory, or a mapped file, that a state is copied into before it is written in the background. It only grows, and its pages are there
/// before they are needed, so a copy costs no more than memcpy does.
class CopyBuffer {
 public:
  CopyBuffer() = default;
  ~CopyBuffer();
  CopyBuffer(const CopyBuffer&) = delete;
  CopyBuffer& operator=(const CopyBuffer&) = delete;

  /// False when there is no room for so many bytes, while `neighbours` ranks of this host ask for as much. With a `directory` they lie in a
  /// nameless file there, which goes with the process. IoError for a directory in which no file can be made.
  bool reserve(size_t bytes, int neighbours, const std::filesystem::path& directory = {});
  /// Copies the parts, with so many threads, and returns them with their data here.
  std::vector<Part> copy(std::vector<Part> parts, int threads);

  /// Of what parts need here.
  static size_t bytes_for(const std::vector<Part>& parts);

 private:
  void release() noexcept;
  bool map_file(size_t bytes, const std::filesystem::path& directory);

  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace levin::detail
