#include "levin/metrics/exact_sum.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "exact_words.h"
#include "levin/core/error.h"

namespace levin {
namespace {

constexpr int64_t mantissa_bits = 52, exponent_mask = 0x7FF, mantissa_mask = (int64_t{1} << mantissa_bits) - 1;
constexpr int64_t word_bits = 32, word_mask = (int64_t{1} << word_bits) - 1;

// A finite float64 as three words of a sum, from word `first` on, and its sign.
struct Term {
  int64_t first, sign;
  std::array<int64_t, 3> words;

  static Term of(int64_t bits) {
    const int64_t exponent = (bits >> mantissa_bits) & exponent_mask;
    const int64_t mantissa = (bits & mantissa_mask) | (exponent > 0 ? int64_t{1} << mantissa_bits : 0);
    const int64_t position = exponent > 0 ? exponent - 1 : 0, shift = position % word_bits;
    const int64_t low = (mantissa & word_mask) << shift, high = (mantissa >> word_bits) << shift;  // at most 63 and 52 bits
    return {position / word_bits, bits < 0 ? -1 : 1, {low & word_mask, (low >> word_bits) + (high & word_mask), high >> word_bits}};
  }
};

// Words from 0 to 2^32 - 1, but the last, which has the sign.
void normalise(detail::SumWords& words) {
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const int64_t over = words[i] >> word_bits;  // rounds down
    words[i] -= over << word_bits;
    words[i + 1] += over;
  }
}

detail::SumWords words_of(const Tensor& state, int64_t index) {
  const auto row = state[index].to(at::kCPU).contiguous();
  detail::SumWords words;
  std::copy_n(row.const_data_ptr<int64_t>(), words.size(), words.begin());
  return words;
}

// The total of a sum with terms that are not finite; 0 for others.
double special_total(const Tensor& state, int64_t index) {
  const auto row = state[index].to(at::kCPU).contiguous();
  const auto* counts = row.const_data_ptr<int64_t>();
  const bool up = counts[detail::positive_infinities] > 0, down = counts[detail::negative_infinities] > 0;
  if (counts[detail::nans] > 0 || (up && down)) return std::numeric_limits<double>::quiet_NaN();
  return up ? std::numeric_limits<double>::infinity() : down ? -std::numeric_limits<double>::infinity() : 0.0;
}

}  // namespace

void detail::subtract(SumWords& words, double term) {
  const auto parts = Term::of(std::bit_cast<int64_t>(term));
  for (size_t i = 0; i < parts.words.size(); ++i) words[static_cast<size_t>(parts.first) + i] -= parts.sign * parts.words[i];
}

double detail::rounded(SumWords words) {
  normalise(words);
  const bool negative = words.back() < 0;
  if (negative) {
    for (auto& word : words) word = -word;
    normalise(words);
  }
  size_t top = words.size() - 1;
  while (top > 0 && words[top] == 0) --top;
  // The highest three words have 65 bits or more; below them it matters only whether the rest is zero.
  const size_t lowest = top >= 2 ? top - 2 : 0;
  unsigned __int128 mantissa = 0;
  for (size_t i = top + 1; i-- > lowest;) mantissa = mantissa << word_bits | static_cast<uint64_t>(words[i]);
  const bool rest = std::any_of(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(lowest), [](int64_t word) { return word != 0; });
  if (rest) mantissa |= 1;
  // ldexp rounds nothing: a number below 2^-1022 has at most 52 bits in its lowest two words.
  const double value = std::ldexp(static_cast<double>(mantissa), static_cast<int>(lowest) * static_cast<int>(word_bits) - 1074);
  return negative ? -value : value;
}

void detail::add_terms_on_cpu(const Tensor& sums, const Tensor& terms) {
  auto* const rows = sums.mutable_data_ptr<int64_t>();
  const auto* term = terms.const_data_ptr<double>();
  const int64_t count = sums.size(0);
  for (int64_t n = terms.size(0); n > 0; --n)
    for (int64_t column = 0; column < count; ++column, ++term) {
      auto* const row = rows + column * row_words;
      if (std::isfinite(*term)) {
        const auto [first, sign, words] = Term::of(std::bit_cast<int64_t>(*term));
        for (size_t i = 0; i < words.size(); ++i) row[static_cast<size_t>(first) + i] += sign * words[i];
      } else {
        ++row[std::isnan(*term) ? nans : *term > 0 ? positive_infinities : negative_infinities];
      }
    }
}

void detail::add_terms(const Tensor& sums, const Tensor& terms) {
  const auto bits = terms.contiguous().view(at::kLong);
  const auto exponent = bits.bitwise_right_shift(mantissa_bits).bitwise_and(exponent_mask);
  const auto finite = exponent.ne(exponent_mask), normal = exponent.gt(0);
  const auto mantissa = bits.bitwise_and(mantissa_mask).add(normal.to(at::kLong), int64_t{1} << mantissa_bits);
  const auto position = exponent.sub(1).clamp_min(0), shift = position.bitwise_and(word_bits - 1);
  const auto low = mantissa.bitwise_and(word_mask).bitwise_left_shift(shift);
  const auto high = mantissa.bitwise_right_shift(word_bits).bitwise_left_shift(shift);
  const auto sign = bits.lt(0).to(at::kLong).mul(-2).add(1).mul(finite);
  const auto row = at::arange(sums.size(0), sums.options()).mul(row_words).expand_as(bits);
  const auto first = position.bitwise_right_shift(5).clamp_max(sum_words - 3).add(row);
  auto flat = sums.view({-1});
  const auto add_words = [&](int64_t i, const Tensor& words) { flat.scatter_add_(0, first.add(i).flatten(), words.mul(sign).flatten()); };
  add_words(0, low.bitwise_and(word_mask));
  add_words(1, low.bitwise_right_shift(word_bits).add(high.bitwise_and(word_mask)));
  add_words(2, high.bitwise_right_shift(word_bits));
  const auto is_nan = terms.isnan(), infinite = finite.logical_not().logical_and(is_nan.logical_not());
  sums.select(1, nans).add_(is_nan.sum(0));
  sums.select(1, positive_infinities).add_(infinite.logical_and(bits.ge(0)).sum(0));
  sums.select(1, negative_infinities).add_(infinite.logical_and(bits.lt(0)).sum(0));
}

void detail::carry(const Tensor& sums) {
  const auto words = sums.narrow(1, 0, sum_words - 1), next = sums.narrow(1, 1, sum_words - 1);
  const auto over = words.bitwise_right_shift(word_bits);
  words.sub_(over, int64_t{1} << word_bits);
  next.add_(over);
}

Tensor ExactSum::zero(int64_t count) { return at::zeros({count, detail::row_words}, at::kLong); }

void ExactSum::add(const Tensor& terms) {
  const auto& sums = state_.value;
  const int64_t count = sums.size(0);
  if (count > 1 && (terms.dim() != 2 || terms.size(1) != count))
    throw UsageError("metrics", fmt::format("terms are {}, there are {} sums", c10::str(terms.sizes()), count));
  if (terms.numel() > int64_t{1} << 30)
    throw UsageError("metrics", fmt::format("{} terms at once", terms.numel()), "add at most 2^30 at once");
  if (terms.numel() == 0) return;
  const auto rows = terms.detach().to(at::kDouble).reshape({-1, count}).contiguous();
  if (rows.is_cpu() && sums.is_cpu())
    detail::add_terms_on_cpu(sums, rows);
  else
    detail::add_terms(sums, rows);
  detail::carry(sums);
}

double ExactSum::total(const Tensor& state, int64_t index) {
  const double special = special_total(state, index);
  return special != 0 ? special : detail::rounded(words_of(state, index));  // NaN is not 0
}

double ExactSum::remainder(const Tensor& state, int64_t index) {
  const double rounded_total = total(state, index);
  if (!std::isfinite(rounded_total)) return 0;
  auto words = words_of(state, index);
  detail::subtract(words, rounded_total);
  return detail::rounded(words);
}

}  // namespace levin
