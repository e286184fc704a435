#pragma once

namespace levin {

/// Lowers glibc's mmap threshold to 256 KiB while it lives, so that large frees return to the OS (glibc raises the threshold to 32 MiB over
/// time). Afterwards frees up to that size stay in the heap, for activations, which are allocated again in every step.
class HeapGivesBack {
 public:
  HeapGivesBack() noexcept;
  ~HeapGivesBack();
  HeapGivesBack(const HeapGivesBack&) = delete;
  HeapGivesBack& operator=(const HeapGivesBack&) = delete;
};

}  // namespace levin
