#pragma once
#include <array>
#include <cstdint>

#include "levin/core/tensor.h"

namespace levin::detail {

/// A float64 is an integer times 2^-1074. Word i of a sum counts 2^(32 i - 1074); the largest float64 ends in word 65, and two more hold
/// the carries of 2^63 terms. Behind them: the numbers of terms that are infinity, minus infinity and NaN.
constexpr int64_t sum_words = 68, positive_infinities = 68, negative_infinities = 69, nans = 70, row_words = 71;

/// Adds terms [n, count], float64, to int64 [count, row_words], on any device.
void add_terms(const Tensor& sums, const Tensor& terms);
/// The same on the CPU in one pass; both contiguous.
void add_terms_on_cpu(const Tensor& sums, const Tensor& terms);
/// Moves what exceeds 32 bits of each word to the next.
void carry(const Tensor& sums);

using SumWords = std::array<int64_t, sum_words>;

/// Subtracts a finite term.
void subtract(SumWords& words, double term);
/// The sum, rounded to nearest, ties to even.
double rounded(SumWords words);

}  // namespace levin::detail
