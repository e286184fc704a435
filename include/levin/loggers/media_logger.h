#pragma once
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "levin/core/log.h"
#include "levin/core/tensor.h"
#include "levin/trainer/run_aware_logger.h"

namespace levin {

namespace detail {
struct HistogramBucket;
struct PngImage;
}  // namespace detail

/// A logger that also takes texts, histograms and images. Hooks of a module or callback reach all of them on rank 0:
///
///     for (auto* logger : find_loggers<MediaLogger>(trainer()))
///       logger->add_histogram("weights", net_->weight, trainer().global_step());
///
/// Any thread may call. In a training the calls copy their values and return; the logger's thread encodes and writes them, in order with
/// the values of log_metrics. Up to 64 MiB wait for it; what is beyond is dropped, with a warning. A file that cannot be written is one
/// warning in the run's log, and what was added is written later: up to 64 MiB are kept.
class MediaLogger : public RunAwareLogger {
 public:
  void set_log(const Log& log) override;
  void set_queue(CallQueue* queue) override;

  /// Markdown.
  void add_text(const std::string& name, const std::string& text, int64_t step);
  /// The distribution of a tensor's values: any shape and dtype of real numbers, on any device. NaN and infinities are left out.
  void add_histogram(const std::string& name, const Tensor& values, int64_t step);
  /// [height, width] or [channels, height, width], with 1 (grey), 3 (RGB) or 4 (RGBA) channels: uint8, bool, or floating point in 0 to 1,
  /// which is clamped. UsageError for others.
  void add_image(const std::string& name, const Tensor& image, int64_t step);

 protected:
  struct Entry {
    std::string name;
    int64_t step;
    double time;  ///< of the call, in seconds since 1970 (UTC)
  };
  /// On the logger's thread in a training, else in the call. An IoError is a warning.
  virtual void write_text(const Entry& entry, const std::string& text) = 0;
  virtual void write_histogram(const Entry& entry, const std::vector<detail::HistogramBucket>& buckets) = 0;
  virtual void write_image(const Entry& entry, const detail::PngImage& image) = 0;
  /// Calls `write` as above. `bytes`: what it holds until then.
  void post(std::function<void()> write, int64_t bytes);

 private:
  void write_or_warn(const std::function<void()>& write);

  std::mutex media_mutex_;
  CallQueue* queue_ = nullptr;
  Log log_;
  bool warned_ = false;
};

}  // namespace levin
