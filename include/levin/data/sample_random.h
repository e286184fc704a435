#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

#include "levin/core/mix_seed.h"

namespace levin {

/// Random numbers of one sample: SplitMix64. Cheap to make, so that each sample has its own. The numbers of a seed never change.
class SampleRandom {
 public:
  explicit SampleRandom(uint64_t seed) noexcept : state_(seed) {}

  /// 64 bits.
  uint64_t bits() noexcept { return mix_bits(state_ += 0x9E3779B97F4A7C15u); }
  /// In [0, 1).
  double uniform() noexcept { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double begin, double end) noexcept { return begin + (end - begin) * uniform(); }
  /// In [0, bound); 0 for a bound below 1. All are equally likely to 2^-32 as long as the bound is below 2^32.
  int64_t below(int64_t bound) noexcept { return bound < 1 ? 0 : static_cast<int64_t>(bits() % static_cast<uint64_t>(bound)); }
  bool chance(double probability) noexcept { return uniform() < probability; }
  /// Of mean 0 and standard deviation 1.
  double normal() noexcept {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace levin
