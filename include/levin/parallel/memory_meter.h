#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

namespace levin {

/// Kinds of memory of a training's state.
enum class MemoryKind { parameters, gradients, optimizer };

/// Bytes that this rank allocated for a training's state: now, and at most so far. Shared memory counts on the rank that owns the part.
class MemoryMeter {
 public:
  void add(MemoryKind kind, int64_t bytes) noexcept {
    now_[static_cast<size_t>(kind)] += bytes;
    peak_ = std::max(peak_, total());
  }
  int64_t now(MemoryKind kind) const noexcept { return now_[static_cast<size_t>(kind)]; }
  int64_t total() const noexcept { return now_[0] + now_[1] + now_[2]; }
  int64_t peak() const noexcept { return peak_; }
  void forget_peak() noexcept { peak_ = total(); }

 private:
  std::array<int64_t, 3> now_{};
  int64_t peak_ = 0;
};

}  // namespace levin
