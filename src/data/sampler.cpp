#include "levin/data/sampler.h"

#include <algorithm>
#include <cmath>

#include "levin/core/mix_seed.h"

namespace levin {
namespace {

// A number in [0, bound), bound <= 2^32, that depends on all bits of value and key.
inline uint64_t keyed(uint64_t value, uint64_t key, uint64_t bound) {
  uint64_t h = (value ^ key) * 0x9E3779B97F4A7C15u;
  h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93u;
  return ((h >> 32) * bound) >> 32;
}

}  // namespace

Sampler Sampler::sequential(int64_t size) {
  Sampler sampler;
  sampler.size_ = static_cast<uint64_t>(size);
  return sampler;
}

Sampler Sampler::shuffled(int64_t size, uint64_t seed, int64_t epoch) {
  Sampler sampler = sequential(size);
  sampler.rounds_ = size <= 1000 ? most_rounds : 10;
  const auto n = std::max<uint64_t>(sampler.size_, 1);
  auto root = static_cast<uint64_t>(std::sqrt(static_cast<double>(n)));
  while (root * root > n) --root;
  while (root * root < n) ++root;
  // An even number: shifts of odd cycles are even permutations, and half of all orders would never come.
  sampler.columns_ = root + root % 2;
  sampler.rows_ = (n + sampler.columns_ - 1) / sampler.columns_;
  uint64_t key = mix_bits(mix_seed(seed) ^ static_cast<uint64_t>(epoch));
  for (auto& round_key : sampler.keys_) round_key = mix_bits(key += 0x9E3779B97F4A7C15u);
  return sampler;
}

int64_t Sampler::operator()(int64_t position) const noexcept {
  if (rounds_ == 0) return position;
  auto index = static_cast<uint64_t>(position);
  do {  // a place beyond the samples is mapped again: about sqrt(size) of the places are
    uint64_t row = index / columns_, column = index % columns_;
    for (int round = 0; round < rounds_; round += 2) {
      row += keyed(column, keys_[static_cast<size_t>(round)], rows_);
      if (row >= rows_) row -= rows_;
      column += keyed(row, keys_[static_cast<size_t>(round) + 1], columns_);
      if (column >= columns_) column -= columns_;
    }
    index = row * columns_ + column;
  } while (index >= size_);
  return static_cast<int64_t>(index);
}

void Sampler::fill(int64_t begin, std::span<int64_t> samples) const noexcept {
  for (auto& sample : samples) sample = (*this)(begin++);
}

}  // namespace levin
