#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "levin/core/fixed_text.h"

namespace levin::cli {

/// The stack of a crashed thread, in preallocated memory. Frames inside LibTorch, MPI and Levin are folded, so that the user's functions
/// stand out.
class StackTrace {
 public:
  /// Collects this thread's frames, starting at `address`, with their symbols. Does not call malloc.
  void collect(uintptr_t address) noexcept;
  /// Looks up the symbols of these addresses, a stack with its innermost frame first.
  void collect(std::span<const uintptr_t> addresses) noexcept;
  /// Demangles the names. Calls malloc, whose heap may be corrupt.
  void demangle() noexcept;
  /// Appends at most `lines` lines, each preceded by a newline, innermost first.
  void describe(FixedText& text, size_t lines) const noexcept;

 private:
  static constexpr size_t most = 48;
  struct Frame {
    char function[1024];
    char file[256];
    char object[64];  // library or program
    int line;
    bool inner;  // in a library
  };
  void add(uintptr_t address) noexcept;
  size_t run_of(size_t first) const noexcept;

  std::array<Frame, most> frames_;
  size_t count_ = 0;
};

/// The lines that StackTrace::describe gives for the stack of a running thread. Allocates memory.
std::string describe_stack(std::span<const uintptr_t> addresses);

}  // namespace levin::cli
