#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "levin/core/batch.h"
#include "levin/core/config.h"

namespace levin {

struct ImageAugmentationConfig {
  std::vector<std::string> fields = {"image"};
  double flip_horizontal = 0;
  double flip_vertical = 0;
  int64_t crop_padding = 0;
  std::optional<int64_t> crop_height = {};
  std::optional<int64_t> crop_width = {};
  double brightness = 0;
  double contrast = 0;
  double saturation = 0;
  double noise = 0;
  /// ConfigError where no field is named.
  void validate() const;
};
LEVIN_CONFIG(ImageAugmentationConfig,
             (fields, "images [n, channels, height, width]; all are flipped and cropped alike, colors and noise change the first"),
             (flip_horizontal, "probability of a left-right flip", between(0, 1)),
             (flip_vertical, "probability of an upside-down flip", between(0, 1)),
             (crop_padding, "zeros around the image before the crop, in pixels", at_least(0)),
             (crop_height, "height of the crop, at a random place; null: the image's", at_least(1)),
             (crop_width, "width of the crop, at a random place; null: the image's", at_least(1)),
             (brightness, "a factor from 1 - brightness to 1 + brightness; values are cut to 0 … 1", between(0, 1)),
             (contrast, "the same for the distance to the image's mean gray", between(0, 1)),
             (saturation, "the same for the distance to each pixel's gray; needs 3 channels", between(0, 1)),
             (noise, "standard deviation of normal noise on every value", at_least(0)))

/// A random change of images, for a TransformDataset:
///
///     TransformDataset(images, ImageAugmentation({.flip_horizontal = 0.5, .crop_padding = 4}))
///
/// Each sample draws from its own seed. Flips and crops take any dtype; colors and noise float32, colors with values from 0 to 1. Gray is
/// 0.299 red + 0.587 green + 0.114 blue; of other numbers of channels, their mean. Other tensors of the batch are handed on. UsageError,
/// with the shape, for a field that is not a batch of images or is smaller than the crop.
class ImageAugmentation {
 public:
  explicit ImageAugmentation(ImageAugmentationConfig config);
  void operator()(const Batch& source, std::span<const uint64_t> seeds, Batch& into) const;
  /// UsageError for a batch that the call would refuse and, if it changes colors, for values outside of 0 to 1, which it would cut.
  void check(const Batch& source) const;

 private:
  void check_field(const std::string& name, const Tensor& images) const;

  ImageAugmentationConfig config_;
  bool colors_;
};

}  // namespace levin
