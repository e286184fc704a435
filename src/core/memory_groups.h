#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace levin::detail {

/// A control group of version 2 or 1 whose processes' memory the kernel accounts.
struct MemoryGroup {
  std::filesystem::path folder;
  bool version2 = true;

  /// In bytes; null: none.
  std::optional<int64_t> limit() const;
  /// Bytes in use, without pages of files, which are reclaimed when memory is short.
  int64_t used() const;
};

/// The control group of this process and those above it, the narrowest first. A batch system may limit any of them. `root`: for tests, in
/// place of /.
std::vector<MemoryGroup> memory_groups(const std::filesystem::path& root = "/");

/// levin::available_memory of a machine whose /proc and /sys are below `root`.
int64_t available_memory_below(const std::filesystem::path& root);

}  // namespace levin::detail
