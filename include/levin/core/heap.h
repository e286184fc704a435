#pragma once

namespace levin {

/// glibc comes to keep pieces of up to 32 MiB that are freed. While this lives, what is freed in pieces of more than 256 KiB reaches the
/// system; afterwards pieces up to that size are kept, for activations, which are better not asked for anew.
class HeapGivesBack {
 public:
  HeapGivesBack() noexcept;
  ~HeapGivesBack();
  HeapGivesBack(const HeapGivesBack&) = delete;
  HeapGivesBack& operator=(const HeapGivesBack&) = delete;
};

}  // namespace levin
