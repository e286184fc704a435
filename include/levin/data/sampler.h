#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace levin {

/// The order of an epoch's samples over the whole job: a bijection from positions [0, size) to samples [0, size). Nothing is stored: a
/// shuffled order is a keyed Feistel network, so any position is found in constant time, and (size, seed, epoch) give the same order on
/// any machine and number of ranks. Checkpoints rely on it: the order of a given key never changes.
class Sampler {
 public:
  static Sampler sequential(int64_t size);
  static Sampler shuffled(int64_t size, uint64_t seed, int64_t epoch);

  int64_t size() const noexcept { return static_cast<int64_t>(size_); }
  /// The sample at a position of the order.
  int64_t operator()(int64_t position) const noexcept;
  /// The samples at positions begin, begin + 1, …
  void fill(int64_t begin, std::span<int64_t> samples) const noexcept;

 private:
  // Even numbers. Few rounds mix large sets; tiny ones need more until all their orders are equally likely.
  static constexpr int most_rounds = 24;

  uint64_t size_ = 0;
  uint64_t columns_ = 0, rows_ = 0;  // the network works on a grid of rows x columns places, at least one for each sample
  int rounds_ = 0;                   // 0: sequential
  std::array<uint64_t, most_rounds> keys_{};
};

}  // namespace levin
