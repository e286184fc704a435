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

Sampler Sampler::shuffled_in_blocks(int64_t size, int64_t block, int64_t mixed_blocks, uint64_t seed, int64_t epoch) {
  if (block <= 0 || block >= size) return shuffled(size, seed, epoch);
  const int64_t whole_blocks = size / block;
  Sampler sampler = shuffled(whole_blocks, seed, epoch);
  auto& blocks = sampler.blocks_;
  blocks.samples = size;
  blocks.block = block;
  const int64_t most_mixed = whole_blocks + 1;
  blocks.mixed_samples = block * std::clamp<int64_t>(mixed_blocks, 1, most_mixed);
  blocks.rest = size % block;
  blocks.seed = mix_seed(seed);
  blocks.epoch = epoch;
  const uint64_t place = mix_bits(mix_bits(blocks.seed) ^ static_cast<uint64_t>(epoch));
  blocks.short_place = static_cast<int64_t>(place % static_cast<uint64_t>(whole_blocks + 1));
  return sampler;
}

// The order among the samples that are mixed with the one at `position`.
Sampler Sampler::mixing(int64_t position) const noexcept {
  const int64_t number = position / blocks_.mixed_samples;
  const int64_t samples = std::min(blocks_.mixed_samples, blocks_.samples - number * blocks_.mixed_samples);
  return shuffled(samples, mix_bits(blocks_.seed + static_cast<uint64_t>(number)), blocks_.epoch);
}

int64_t Sampler::in_blocks(int64_t position) const noexcept {
  const auto& [samples, block, mixed_samples, rest, short_place, epoch, seed] = blocks_;
  if (const int64_t behind = position - short_place * block; rest > 0 && behind >= 0) {
    if (behind < rest) return samples - rest + behind;
    position -= rest;
  }
  return permuted(position / block) * block + position % block;
}

int64_t Sampler::operator()(int64_t position) const noexcept {
  if (blocks_.samples == 0) return permuted(position);
  const int64_t begin = position - position % blocks_.mixed_samples;
  return in_blocks(begin + mixing(position)(position - begin));
}

int64_t Sampler::permuted(int64_t position) const noexcept {
  if (rounds_ == 0) return position;
  auto index = static_cast<uint64_t>(position);
  do {  // an index beyond the samples is mapped again: about sqrt(size) of the indices are
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
  if (blocks_.samples == 0) {
    for (auto& sample : samples) sample = permuted(begin++);
    return;
  }
  for (size_t done = 0; done < samples.size();) {
    const int64_t position = begin + static_cast<int64_t>(done), first = position - position % blocks_.mixed_samples;
    const auto mixed = mixing(position);
    const int64_t end = std::min(first + mixed.size(), begin + std::ssize(samples));
    for (int64_t next = position; next < end; ++next) samples[done++] = in_blocks(first + mixed(next - first));
  }
}

}  // namespace levin
