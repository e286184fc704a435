#pragma once
#include <cstdint>

namespace levin {

/// SplitMix64's finalizer: a bijection in which every bit of the result depends on every bit of `value`.
constexpr uint64_t mix_bits(uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

/// SplitMix64: seeds that differ in any bit, neighbouring counters among them, give unrelated numbers. Mix a seed before a generator gets
/// it: LibTorch's CPU generator keeps the low 32 bits only.
constexpr uint64_t mix_seed(uint64_t seed) noexcept { return mix_bits(seed + 0x9E3779B97F4A7C15u); }

}  // namespace levin
