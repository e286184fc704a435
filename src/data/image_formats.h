#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace levin::detail {

/// Pixels of 8 bits, row by row, the channels of a pixel side by side: 1 gray, or 3 RGB.
struct Pixels {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> values;
};

/// What is wrong with the bytes of an image; the caller knows its path.
struct CorruptImage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr int64_t most_image_pixels = int64_t{1} << 27;  ///< a small file can claim any size

bool is_jpeg(std::span<const std::byte> bytes);
bool is_png(std::span<const std::byte> bytes);
/// By libjpeg. CMYK becomes RGB, as in PIL. CorruptImage, also for a file that ends too early.
void decode_jpeg(std::span<const std::byte> bytes, Pixels& into);
/// By libpng. Alpha is dropped, palettes become RGB, 16 bits are cut to their upper 8. CorruptImage.
void decode_png(std::span<const std::byte> bytes, Pixels& into);

/// Gray to RGB, or RGB to gray by PIL's weights.
void convert_channels(Pixels& pixels, int64_t channels);
/// Bilinear without antialiasing, half-pixel centers, rounded to the nearest: torch's interpolate(mode="bilinear", antialias=False).
void resize_bilinear(const Pixels& from, int64_t height, int64_t width, Pixels& into);

}  // namespace levin::detail
