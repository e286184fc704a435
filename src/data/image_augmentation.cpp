#include "levin/data/image_augmentation.h"

#include <ATen/ops/aminmax.h>
#include <c10/util/StringUtil.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <tuple>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/data/dataset.h"
#include "levin/data/sample_random.h"

namespace levin {
namespace {

// Where a sample's crop lies in its padded image, and how it is turned and colored.
struct Draw {
  bool flip_horizontal, flip_vertical;
  double top, left;  // parts of the free space
  double brightness, contrast, saturation;

  // Always the same number of draws, so that an option changes nothing else.
  Draw(SampleRandom& random, const ImageAugmentationConfig& config)
      : flip_horizontal(random.chance(config.flip_horizontal)),
        flip_vertical(random.chance(config.flip_vertical)),
        top(random.uniform()),
        left(random.uniform()),
        brightness(random.uniform(1 - config.brightness, 1 + config.brightness)),
        contrast(random.uniform(1 - config.contrast, 1 + config.contrast)),
        saturation(random.uniform(1 - config.saturation, 1 + config.saturation)) {}
};

// One axis of a crop: pixel i of the output is pixel first + i * step of the image, zero outside.
struct Axis {
  int64_t size, out_size, first, step;

  Axis(int64_t image_size, int64_t crop_size, int64_t padding, double place, bool flip) : size(image_size), out_size(crop_size) {
    const int64_t free = image_size + 2 * padding - crop_size;
    const int64_t begin = std::min(free, static_cast<int64_t>(place * static_cast<double>(free + 1))) - padding;
    first = flip ? begin + crop_size - 1 : begin;
    step = flip ? -1 : 1;
  }
  int64_t operator()(int64_t i) const { return first + i * step; }
  bool inside(int64_t place) const { return place >= 0 && place < size; }
};

void copy_plane(const std::byte* from, const Axis& rows, const Axis& columns, size_t bytes, std::byte* to) {
  for (int64_t y = 0; y < rows.out_size; ++y, to += static_cast<size_t>(columns.out_size) * bytes) {
    const int64_t row = rows(y);
    if (!rows.inside(row)) {
      std::memset(to, 0, static_cast<size_t>(columns.out_size) * bytes);
      continue;
    }
    const auto* line = from + static_cast<size_t>(row * columns.size) * bytes;
    if (columns.step == 1 && columns.inside(columns(0)) && columns.inside(columns(columns.out_size - 1))) {
      std::memcpy(to, line + static_cast<size_t>(columns.first) * bytes, static_cast<size_t>(columns.out_size) * bytes);
      continue;
    }
    for (int64_t x = 0; x < columns.out_size; ++x) {
      const int64_t column = columns(x);
      auto* pixel = to + static_cast<size_t>(x) * bytes;
      if (columns.inside(column))
        std::memcpy(pixel, line + static_cast<size_t>(column) * bytes, bytes);
      else
        std::memset(pixel, 0, bytes);
    }
  }
}

// Channels of one image, planes of `pixels` values.
struct Image {
  float* values;
  int64_t channels, pixels;

  float gray(int64_t pixel) const {
    if (channels == 3) return 0.299F * values[pixel] + 0.587F * values[pixels + pixel] + 0.114F * values[2 * pixels + pixel];
    float sum = 0;
    for (int64_t channel = 0; channel < channels; ++channel) sum += values[channel * pixels + pixel];
    return sum / static_cast<float>(channels);
  }
  // Every value v becomes center + factor (v - center), cut to 0 … 1.
  void scale(float& value, float center, float factor) const { value = std::clamp(center + factor * (value - center), 0.0F, 1.0F); }
  void scale_all(float center, float factor) {
    for (int64_t i = 0; i < channels * pixels; ++i) scale(values[i], center, factor);
  }
};

void change_colors(Image image, const Draw& draw, const ImageAugmentationConfig& config) {
  if (config.brightness > 0) image.scale_all(0, static_cast<float>(draw.brightness));
  if (config.contrast > 0) {
    double sum = 0;
    for (int64_t pixel = 0; pixel < image.pixels; ++pixel) sum += image.gray(pixel);
    image.scale_all(static_cast<float>(sum / static_cast<double>(image.pixels)), static_cast<float>(draw.contrast));
  }
  if (config.saturation > 0)
    for (int64_t pixel = 0; pixel < image.pixels; ++pixel) {
      const float gray = image.gray(pixel);
      for (int64_t channel = 0; channel < image.channels; ++channel)
        image.scale(image.values[channel * image.pixels + pixel], gray, static_cast<float>(draw.saturation));
    }
}

void add_noise(Image image, SampleRandom& random, double deviation) {
  for (int64_t i = 0; i < image.channels * image.pixels; ++i) image.values[i] += static_cast<float>(deviation * random.normal());
}

}  // namespace

void ImageAugmentationConfig::validate() const {
  if (fields.empty()) throw ConfigError("an image augmentation has no fields", "name at least one");
}

ImageAugmentation::ImageAugmentation(ImageAugmentationConfig config)
    : config_(std::move(config)), colors_(config_.brightness > 0 || config_.contrast > 0 || config_.saturation > 0) {
  check_config(config_);
}

void ImageAugmentation::check(const Batch& source) const {
  for (const auto& name : config_.fields) check_field(name, source[name]);
  const auto& first = config_.fields.front();
  if (!colors_ || source[first].numel() == 0) return;
  const auto range = at::aminmax(source[first]);
  const auto least = std::get<0>(range).item<float>(), most = std::get<1>(range).item<float>();
  constexpr float slack = 0.01F;  // a factor of 0.00392157 makes a little more than 1 of 255
  if (!(least >= -slack && most <= 1 + slack))
    throw UsageError("data", fmt::format("{} has values from {} to {}", quote(first), least, most), "colors need values from 0 to 1");
}

void ImageAugmentation::check_field(const std::string& name, const Tensor& images) const {
  const auto refuse = [&](const std::string& remedy) {
    throw UsageError("data", fmt::format("{} is {} {}", quote(name), c10::str(images.sizes()), c10::toString(images.scalar_type())),
                     remedy);
  };
  if (images.dim() != 4 || !images.is_cpu()) refuse("an augmentation takes images [n, channels, height, width] on the CPU");
  const int64_t padding = 2 * config_.crop_padding;
  if (config_.crop_height.value_or(0) > images.size(2) + padding || config_.crop_width.value_or(0) > images.size(3) + padding)
    refuse(fmt::format("crop at most the image and {} pixels of padding", padding));
  if (name != config_.fields.front()) return;
  if ((colors_ || config_.noise > 0) && images.scalar_type() != at::kFloat) refuse("colors and noise need float32: scale bytes");
  if (config_.saturation > 0 && images.size(1) != 3) refuse("saturation needs 3 channels");
}

void ImageAugmentation::operator()(const Batch& source, std::span<const uint64_t> seeds, Batch& into) const {
  for (const auto& [name, tensor] : source.tensors())
    if (std::find(config_.fields.begin(), config_.fields.end(), name) == config_.fields.end()) into.set(name, tensor);
  for (const auto& name : config_.fields) {
    const Tensor images = source[name].contiguous();
    check_field(name, images);
    const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
    const int64_t out_height = config_.crop_height.value_or(height), out_width = config_.crop_width.value_or(width);
    const Tensor out = reuse_tensor(into, name, {images.size(0), channels, out_height, out_width}, images.scalar_type());
    const size_t bytes = images.element_size();
    const auto* from = static_cast<const std::byte*>(images.const_data_ptr());
    auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
    const bool first = name == config_.fields.front();
    for (const uint64_t seed : seeds) {
      SampleRandom random(seed);
      const Draw draw(random, config_);
      const Axis rows(height, out_height, config_.crop_padding, draw.top, draw.flip_vertical),
          columns(width, out_width, config_.crop_padding, draw.left, draw.flip_horizontal);
      auto* const begin = to;
      for (int64_t channel = 0; channel < channels; ++channel) {
        copy_plane(from, rows, columns, bytes, to);
        from += static_cast<size_t>(height * width) * bytes;
        to += static_cast<size_t>(out_height * out_width) * bytes;
      }
      if (!first || bytes != sizeof(float)) continue;
      const Image image{reinterpret_cast<float*>(begin), channels, out_height * out_width};
      if (colors_) change_colors(image, draw, config_);
      if (config_.noise > 0) add_noise(image, random, config_.noise);
    }
  }
  into.set_weight(source.weight());
}

}  // namespace levin
