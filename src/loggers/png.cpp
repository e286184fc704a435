#include "png.h"

#include <zlib.h>

#include <string_view>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

constexpr int fast = 3;  // of zlib's levels: an image is written while the training waits

std::string big_endian(uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((number >> shift) & 0xff);
  return bytes;
}

std::string chunk(std::string_view type, std::string_view data) {
  const auto body = std::string(type) + std::string(data);
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(crc));
}

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string result(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), fast) != Z_OK)
    throw UsageError("loggers", "zlib cannot compress the image");
  result.resize(size);
  return result;
}

}  // namespace

std::string png_of(const uint8_t* pixels, int64_t width, int64_t height, int64_t channels) {
  const char color_type = channels == 1 ? char{0} : channels == 3 ? char{2} : char{6};
  std::string header = big_endian(static_cast<uint32_t>(width)) + big_endian(static_cast<uint32_t>(height));
  for (const char byte : {char{8}, color_type, char{0}, char{0}, char{0}}) header += byte;  // depth, colors, deflate, filters, no interlace
  const auto row = static_cast<size_t>(width * channels);
  std::string rows;
  rows.reserve(static_cast<size_t>(height) * (row + 1));
  for (int64_t y = 0; y < height; y++) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(pixels) + static_cast<size_t>(y) * row, row);
  }
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", deflated(rows)) + chunk("IEND", "");
}

}  // namespace levin::detail
