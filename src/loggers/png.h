#pragma once
#include <cstdint>
#include <string>

namespace levin::detail {

/// `bytes`: a PNG file.
struct PngImage {
  int64_t width, height;
  std::string bytes;
};

/// The bytes of a PNG file. `pixels`: 8 bits for each of 1 (grey), 3 (RGB) or 4 (RGBA) channels, channels innermost, row by row.
std::string png_of(const uint8_t* pixels, int64_t width, int64_t height, int64_t channels);

}  // namespace levin::detail
