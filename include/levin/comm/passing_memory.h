#pragma once
#include <cstddef>

namespace levin {

/// Memory that all ranks of a node see, for things of which few are needed at a time: each has memory while a rank holds it.
class PassingMemory {
 public:
  virtual ~PassingMemory() = default;
  /// The start of a thing's memory until let_go, page-aligned, and the same memory for all ranks that hold it now. Its values are arbitrary
  /// where nobody else does. IoError where there is no room.
  virtual std::byte* hold(size_t thing) = 0;
  virtual void let_go(size_t thing) noexcept = 0;

  /// So many pieces that nobody holds are kept, for the next thing of their size.
  static constexpr size_t pieces_kept = 2;
};

}  // namespace levin
