#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "image_formats.h"

namespace levin::detail {
namespace {

class PngReader {
 public:
  PngReader(std::span<const std::byte> bytes, Pixels& into) : rest_(bytes), into_(into) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave, [](png_structp, png_const_charp) {});
    if (png_) info_ = png_create_info_struct(png_);
    if (!info_) {
      png_destroy_read_struct(&png_, &info_, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  void read() {
    if (!start()) throw CorruptImage(message_);
    if (into_.height * into_.width > most_image_pixels)
      throw CorruptImage("has " + std::to_string(into_.width) + " x " + std::to_string(into_.height) + " pixels");
    const auto row_bytes = static_cast<size_t>(into_.width * into_.channels);
    into_.values.resize(static_cast<size_t>(into_.height) * row_bytes);
    for (int64_t row = 0; row < into_.height; ++row) rows_.push_back(into_.values.data() + static_cast<size_t>(row) * row_bytes);
    if (!read_rows()) throw CorruptImage(message_);
  }

 private:
  // An exception may not pass through libpng.
  [[noreturn]] static void leave(png_structp png, png_const_charp message) {
    auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(reader.message_, message, sizeof reader.message_ - 1);
    std::longjmp(reader.place_, 1);
  }
  static void take(png_structp png, png_bytep out, size_t count) {
    auto& rest = static_cast<PngReader*>(png_get_io_ptr(png))->rest_;
    if (count > rest.size()) png_error(png, "ends too early");
    std::memcpy(out, rest.data(), count);
    rest = rest.subspan(count);
  }

  // Between setjmp and a jump no object is made that has a destructor.
  bool start() {
    if (setjmp(place_)) return false;
    png_set_read_fn(png_, this, take);
    png_read_info(png_, info_);
    const auto color = png_get_color_type(png_, info_);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (color == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    into_.height = png_get_image_height(png_, info_), into_.width = png_get_image_width(png_, info_);
    into_.channels = png_get_channels(png_, info_);
    if (png_get_bit_depth(png_, info_) != 8 || png_get_rowbytes(png_, info_) != static_cast<size_t>(into_.width * into_.channels))
      png_error(png_, "has an unknown layout");
    return true;
  }
  bool read_rows() {
    if (setjmp(place_)) return false;
    png_read_image(png_, rows_.data());
    png_read_end(png_, nullptr);
    return true;
  }

  std::span<const std::byte> rest_;
  Pixels& into_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::vector<png_bytep> rows_;
  std::jmp_buf place_;
  char message_[200] = {};
};

}  // namespace

bool is_png(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 && png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, 8) == 0;
}

void decode_png(std::span<const std::byte> bytes, Pixels& into) { PngReader(bytes, into).read(); }

}  // namespace levin::detail
