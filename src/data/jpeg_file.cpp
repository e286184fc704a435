#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it

// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "image_formats.h"

namespace levin::detail {
namespace {

// libjpeg reports errors to functions that must not return; an exception may not pass through C, so they jump.
struct JpegErrors {
  jpeg_error_mgr manager;  // first: libjpeg knows its address only
  std::jmp_buf place;
  char message[JMSG_LENGTH_MAX];
};

JpegErrors& errors_of(j_common_ptr info) { return *reinterpret_cast<JpegErrors*>(info->err); }

[[noreturn]] void leave(j_common_ptr info) {
  auto& errors = errors_of(info);
  errors.manager.format_message(info, errors.message);
  std::longjmp(errors.place, 1);
}

// libjpeg fills damaged parts with gray and warns. Only what leaves the pixels as they are is accepted.
void judge_warning(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) leave(info);
}

class JpegReader {
 public:
  explicit JpegReader(Pixels& into) : into_(into) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = leave;
    errors_.manager.emit_message = judge_warning;
    errors_.manager.output_message = [](j_common_ptr) {};
  }
  ~JpegReader() {
    if (made_) jpeg_destroy_decompress(&info_);
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  void read(std::span<const std::byte> bytes) {
    if (!start(bytes)) throw CorruptImage(errors_.message);
    into_.height = info_.output_height, into_.width = info_.output_width, into_.channels = info_.output_components;
    into_.values.resize(static_cast<size_t>(into_.height * into_.width * into_.channels));
    if (!read_rows()) throw CorruptImage(errors_.message);
    if (into_.channels == 4) drop_black(info_.saw_Adobe_marker != 0);
  }

 private:
  // Between setjmp and a jump no object is made that has a destructor.
  bool start(std::span<const std::byte> bytes) {
    if (setjmp(errors_.place)) return false;
    jpeg_create_decompress(&info_);
    made_ = true;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&info_, TRUE);
    if (int64_t{info_.image_width} * info_.image_height > most_image_pixels) {  // before libjpeg allocates for them
      std::snprintf(errors_.message, sizeof errors_.message, "has %u x %u pixels", info_.image_width, info_.image_height);
      return false;
    }
    const bool cmyk = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = cmyk ? JCS_CMYK : info_.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&info_);
    return true;
  }
  bool read_rows() {
    if (setjmp(errors_.place)) return false;
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = into_.values.data() + static_cast<size_t>(info_.output_scanline) * static_cast<size_t>(into_.width * into_.channels);
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  void drop_black(bool inverted) {
    const auto product = [](int a, int b) {
      const int sum = a * b + 128;
      return ((sum >> 8) + sum) >> 8;  // a * b / 255, rounded
    };
    auto& values = into_.values;
    const size_t count = values.size() / 4;
    for (size_t i = 0; i < count; ++i) {
      int ink[4];
      for (size_t c = 0; c < 4; ++c) ink[c] = inverted ? 255 - values[4 * i + c] : values[4 * i + c];
      const int light = 255 - ink[3];
      for (size_t c = 0; c < 3; ++c) values[3 * i + c] = static_cast<uint8_t>(std::clamp(light - product(ink[c], light), 0, 255));
    }
    values.resize(3 * count);
    into_.channels = 3;
  }

  Pixels& into_;
  JpegErrors errors_{};
  jpeg_decompress_struct info_{};
  bool made_ = false;
};

}  // namespace

bool is_jpeg(std::span<const std::byte> bytes) {
  return bytes.size() >= 3 && bytes[0] == std::byte{0xFF} && bytes[1] == std::byte{0xD8} && bytes[2] == std::byte{0xFF};
}

void decode_jpeg(std::span<const std::byte> bytes, Pixels& into) { JpegReader(into).read(bytes); }

}  // namespace levin::detail
