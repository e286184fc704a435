#pragma once
#include <cstddef>
#include <string>

#include "mapped_window.h"

namespace levin::detail {

constexpr size_t page_bytes = 4096;
inline size_t whole_pages(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

/// Gives a part of an open file its memory; errno, 0: it has it.
int reserve_pages(int descriptor, size_t offset, size_t bytes);

/// The file behind a window while it is being made: closed, and by its maker unlinked, on every way out.
class WindowFile {
 public:
  WindowFile(const std::string& path, bool maker) : path_(path), maker_(maker) {}
  ~WindowFile();
  WindowFile(const WindowFile&) = delete;
  WindowFile& operator=(const WindowFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  /// The descriptor is the caller's from now on.
  int take_descriptor() noexcept;
  /// All ranks have a new file of `bytes` zeros open, which have no memory yet though there is room for `needed`, and no path leads to it
  /// any more: a process that is killed from now on leaves nothing behind. False, with the failure, where a rank could not. Collective.
  bool open_on_all(size_t bytes, size_t needed, const GatherErrno& gather_errno, WindowFailure& failure);

 private:
  int open();
  void remove();

  std::string path_;
  bool maker_, linked_ = false;
  int descriptor_ = -1;
};

/// Whether all went well; else the first that did not is the failure.
bool all_good(const std::vector<int>& codes, const char* call, WindowFailure& failure);

}  // namespace levin::detail
