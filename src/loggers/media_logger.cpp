#include "levin/loggers/media_logger.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "histogram.h"
#include "json_values.h"
#include "levin/core/error.h"
#include "png.h"
#include "tensor_values.h"

namespace levin {
namespace {

// [channels, height, width].
Tensor checked_image(const Tensor& image) {
  auto pixels = image.dim() == 2 ? image.unsqueeze(0) : image;
  const auto channels = pixels.dim() == 3 ? pixels.size(0) : 0;
  const auto dtype = pixels.scalar_type();
  if ((channels != 1 && channels != 3 && channels != 4) || pixels.numel() == 0 ||
      (dtype != at::kByte && dtype != at::kBool && !at::isFloatingType(dtype)))
    throw UsageError("loggers", fmt::format("add_image got a tensor [{}] of {}", fmt::join(image.sizes(), ", "), at::toString(dtype)),
                     "give [height, width] or [channels, height, width] with 1, 3 or 4 channels, of uint8, bool or floating point");
  return pixels;
}

// Channels innermost.
std::vector<uint8_t> bytes_of_image(const Tensor& image) {
  const auto channels = image.size(0), pixels = image.size(1) * image.size(2);
  const float most = image.scalar_type() == at::kByte ? 255 : 1;
  std::vector<uint8_t> bytes(static_cast<size_t>(channels * pixels));
  int64_t index = 0;
  detail::for_each_value<float>(image, [&](float value) {
    const float shade = std::isnan(value) ? 0 : std::clamp(value, 0.0f, most) * (255 / most);
    bytes[static_cast<size_t>(index % pixels * channels + index / pixels)] = static_cast<uint8_t>(std::nearbyint(shade));
    index++;
  });
  return bytes;
}

detail::PngImage png_image(const Tensor& image) {
  const auto height = image.size(1), width = image.size(2);
  return {width, height, detail::png_of(bytes_of_image(image).data(), width, height, image.size(0))};
}

}  // namespace

void MediaLogger::set_log(const Log& log) {
  const std::lock_guard lock(media_mutex_);
  log_ = log;
}

void MediaLogger::set_queue(CallQueue* queue) {
  const std::lock_guard lock(media_mutex_);
  queue_ = queue;
}

void MediaLogger::post(std::function<void()> write, int64_t bytes) {
  {
    const std::lock_guard lock(media_mutex_);
    if (queue_) return queue_->post([this, write = std::move(write)] { write_or_warn(write); }, bytes);
  }
  write_or_warn(write);
}

// Hooks call this: an error would end the training.
void MediaLogger::write_or_warn(const std::function<void()>& write) {
  try {
    write();
  } catch (const IoError& error) {
    const std::lock_guard lock(media_mutex_);
    if (!std::exchange(warned_, true))
      log_.warning("{}; the training continues, and up to 64 MiB are kept until this succeeds", error.what());
  }
}

void MediaLogger::add_text(const std::string& name, const std::string& text, int64_t step) {
  const auto bytes = static_cast<int64_t>(text.size());
  post([this, entry = Entry{name, step, detail::wall_time()}, text] { write_text(entry, text); }, bytes);
}

void MediaLogger::add_histogram(const std::string& name, const Tensor& values, int64_t step) {
  const auto copy = detail::copy_of_values(values);
  post([this, entry = Entry{name, step, detail::wall_time()}, copy] { write_histogram(entry, detail::histogram_of(copy)); },
       static_cast<int64_t>(copy.nbytes()));
}

void MediaLogger::add_image(const std::string& name, const Tensor& image, int64_t step) {
  const auto copy = detail::copy_of_values(checked_image(image));
  post([this, entry = Entry{name, step, detail::wall_time()}, copy] { write_image(entry, png_image(copy)); },
       static_cast<int64_t>(copy.nbytes()));
}

}  // namespace levin
