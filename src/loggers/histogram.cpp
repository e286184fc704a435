#include "histogram.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace levin::detail {
namespace {

constexpr size_t bucket_count = 30;

}  // namespace

std::vector<HistogramBucket> histogram_of(const Tensor& values) {
  const auto flat = values.detach().to(at::kCPU, at::kDouble).reshape(-1).contiguous();
  const double* const begin = flat.const_data_ptr<double>();
  const double* const end = begin + flat.numel();
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  for (const double* value = begin; value != end; value++) {
    if (!std::isfinite(*value)) continue;
    least = std::min(least, *value);
    largest = std::max(largest, *value);
  }
  if (least > largest) return {};
  const long double width = static_cast<long double>(largest) - least;  // the range of double is twice the largest double
  std::vector<HistogramBucket> buckets(bucket_count);
  for (size_t i = 0; i < bucket_count; i++) {
    const auto bound = [&](size_t index) { return static_cast<double>(least + width * index / bucket_count); };
    buckets[i] = {bound(i), i + 1 == bucket_count ? largest : bound(i + 1), 0};
  }
  for (const double* value = begin; value != end; value++) {
    if (!std::isfinite(*value)) continue;
    const auto index = width > 0 ? static_cast<size_t>((*value - static_cast<long double>(least)) / width * bucket_count) : bucket_count;
    buckets[std::min(index, bucket_count - 1)].count++;
  }
  return buckets;
}

}  // namespace levin::detail
