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
  /// For data that are read fast in order alone. Blocks of `block` neighbouring samples are put into a random order; then the samples of
  /// each `mixed_blocks` blocks that follow each other are shuffled among themselves. So a stretch of the order needs at most mixed_blocks
  /// + 1 blocks. mixed_blocks 1: the samples of a block stay together. A block of all samples, or more, is shuffled().
  static Sampler shuffled_in_blocks(int64_t size, int64_t block, int64_t mixed_blocks, uint64_t seed, int64_t epoch);

  int64_t size() const noexcept { return blocks_.samples > 0 ? blocks_.samples : static_cast<int64_t>(size_); }
  /// The sample at a position of the order.
  int64_t operator()(int64_t position) const noexcept;
  /// The samples at positions begin, begin + 1, …
  void fill(int64_t begin, std::span<int64_t> samples) const noexcept;

 private:
  // The network permutes the whole blocks; the short block of the last samples stands before the whole block `short_place`.
  struct Blocks {
    int64_t samples = 0;  // 0: no blocks
    int64_t block = 0, mixed_samples = 0, rest = 0, short_place = 0;
    int64_t epoch = 0;
    uint64_t seed = 0;
  };
  int64_t permuted(int64_t position) const noexcept;
  int64_t in_blocks(int64_t position) const noexcept;
  Sampler mixing(int64_t position) const noexcept;

  // Even numbers. Few rounds mix large sets; tiny ones need more until all their orders are equally likely.
  static constexpr int most_rounds = 24;

  uint64_t size_ = 0;
  uint64_t columns_ = 0, rows_ = 0;  // the network works on a grid of rows x columns places, at least one for each sample
  int rounds_ = 0;                   // 0: sequential
  std::array<uint64_t, most_rounds> keys_{};
  Blocks blocks_;
};

}  // namespace levin
