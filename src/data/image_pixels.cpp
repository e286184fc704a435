#include <algorithm>
#include <cmath>

#include "image_formats.h"

namespace levin::detail {
namespace {

// Of an output row or column: two neighbours of the input, and the weight of the second.
struct Neighbours {
  int64_t first, second;
  float weight;
};

std::vector<Neighbours> neighbours(int64_t from, int64_t to) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  std::vector<Neighbours> all;
  for (int64_t i = 0; i < to; ++i) {
    const float center = std::max(0.F, scale * (static_cast<float>(i) + 0.5F) - 0.5F);
    const int64_t first = std::min(static_cast<int64_t>(center), from - 1);
    all.push_back({first, std::min(first + 1, from - 1), std::min(std::max(center - static_cast<float>(first), 0.F), 1.F)});
  }
  return all;
}

}  // namespace

void convert_channels(Pixels& pixels, int64_t channels) {
  auto& values = pixels.values;
  if (pixels.channels == 1 && channels == 3) {
    std::vector<uint8_t> rgb;
    rgb.reserve(3 * values.size());
    for (const uint8_t gray : values) rgb.insert(rgb.end(), 3, gray);
    values = std::move(rgb);
  } else if (pixels.channels == 3 && channels == 1) {
    const size_t count = values.size() / 3;
    for (size_t i = 0; i < count; ++i) {
      const auto* rgb = values.data() + 3 * i;
      values[i] = static_cast<uint8_t>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >> 16);
    }
    values.resize(count);
  }
  pixels.channels = channels;
}

void resize_bilinear(const Pixels& from, int64_t height, int64_t width, Pixels& into) {
  const auto channels = static_cast<size_t>(from.channels);
  into.height = height, into.width = width, into.channels = from.channels;
  into.values.resize(static_cast<size_t>(height * width) * channels);
  const auto rows = neighbours(from.height, height), columns = neighbours(from.width, width);
  auto* out = into.values.data();
  for (const auto& row : rows) {
    const auto* top = from.values.data() + static_cast<size_t>(row.first * from.width) * channels;
    const auto* bottom = from.values.data() + static_cast<size_t>(row.second * from.width) * channels;
    for (const auto& column : columns)
      for (size_t c = 0; c < channels; ++c) {
        const size_t left = static_cast<size_t>(column.first) * channels + c, right = static_cast<size_t>(column.second) * channels + c;
        const float above = static_cast<float>(top[left]) * (1 - column.weight) + static_cast<float>(top[right]) * column.weight;
        const float below = static_cast<float>(bottom[left]) * (1 - column.weight) + static_cast<float>(bottom[right]) * column.weight;
        *out++ = static_cast<uint8_t>(std::nearbyint(above * (1 - row.weight) + below * row.weight));
      }
  }
}

}  // namespace levin::detail
