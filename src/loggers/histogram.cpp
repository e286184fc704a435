#include "histogram.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tensor_values.h"

namespace levin::detail {
namespace {

constexpr size_t bucket_count = 30;

}  // namespace

std::vector<HistogramBucket> histogram_of(const Tensor& values) {
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  for_each_value<double>(values, [&](double value) {
    if (!std::isfinite(value)) return;
    least = std::min(least, value);
    largest = std::max(largest, value);
  });
  if (least > largest) return {};
  const long double width = static_cast<long double>(largest) - least;  // the range of double is twice the largest double
  std::vector<HistogramBucket> buckets(bucket_count);
  for (size_t i = 0; i < bucket_count; i++) {
    const auto bound = [&](size_t index) { return static_cast<double>(least + width * index / bucket_count); };
    buckets[i] = {bound(i), i + 1 == bucket_count ? largest : bound(i + 1), 0};
  }
  for_each_value<double>(values, [&](double value) {
    if (!std::isfinite(value)) return;
    const auto index = width > 0 ? static_cast<size_t>((value - static_cast<long double>(least)) / width * bucket_count) : bucket_count;
    buckets[std::min(index, bucket_count - 1)].count++;
  });
  return buckets;
}

}  // namespace levin::detail
