#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "levin/core/fixed_text.h"

namespace levin::cli {

/// The stack of a thread that has crashed, in memory that is there before. What LibTorch, MPI and Levin did inside is folded, so that the
/// user's functions are seen.
class StackTrace {
 public:
  /// This thread's frames from the one at `address` on, with their symbols. Without malloc.
  void collect(uintptr_t address) noexcept;
  /// Makes names readable; needs malloc, which may be what has broken.
  void demangle() noexcept;
  /// At most `lines` lines, each with a newline before it, innermost first.
  void describe(FixedText& text, size_t lines) const noexcept;

 private:
  static constexpr size_t most = 48;
  struct Frame {
    char function[1024];
    char file[256];
    char object[64];  // the library or program
    int line;
    bool inner;  // not the user's
  };
  void add(uintptr_t address) noexcept;
  size_t run_of(size_t first) const noexcept;

  std::array<Frame, most> frames_;
  size_t count_ = 0;
};

}  // namespace levin::cli
