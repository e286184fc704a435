#pragma once
#include <cstddef>
#include <string>

#include "mapped_window.h"

namespace levin::detail {

constexpr size_t page_bytes = 4096;
inline size_t whole_pages(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

/// Allocates the pages of a part of an open file. Returns errno, or 0.
int reserve_pages(int descriptor, size_t offset, size_t bytes);

/// The backing file of a window during its creation. The destructor closes it; its maker unlinks it.
class WindowFile {
 public:
  WindowFile(const std::string& path, bool maker) : path_(path), maker_(maker) {}
  ~WindowFile();
  WindowFile(const WindowFile&) = delete;
  WindowFile& operator=(const WindowFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  /// Passes ownership of the descriptor to the caller.
  int take_descriptor() noexcept;
  /// Opens a new sparse file of `bytes` on all ranks, checks that the file system has `needed` bytes free, and unlinks the file: a process
  /// killed later leaves nothing behind. False, with the failure, if any rank fails. Collective.
  bool open_on_all(size_t bytes, size_t needed, const GatherErrno& gather_errno, WindowFailure& failure);

 private:
  int open();
  void remove();

  std::string path_;
  bool maker_, linked_ = false;
  int descriptor_ = -1;
};

/// Whether all codes are 0; otherwise sets the failure to the first nonzero one.
bool all_good(const std::vector<int>& codes, const char* call, WindowFailure& failure);

}  // namespace levin::detail
