#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "levin/core/config.h"
#include "levin/core/log.h"
#include "levin/core/tensor.h"
#include "levin/trainer/logger.h"
#include "levin/trainer/run_aware_logger.h"

namespace levin {

namespace detail {
class EventFile;
struct HyperParameters;
}  // namespace detail

struct TensorBoardLoggerConfig {
  std::filesystem::path save_dir = {};
  std::string prefix = {};
  Seconds flush_interval = {1};
};
LEVIN_CONFIG(TensorBoardLoggerConfig, (save_dir, "folder of the event files; empty: the run's"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (flush_interval, "longest time until a written value is in the file", at_least(Seconds{0})))
LEVIN_CHOICE(TensorBoardLoggerConfig, "tensorboard")

/// Event files for TensorBoard: one scalar for each metric (fp32, as TensorBoard stores them), the scalar "epoch", hyper-parameters, and
/// what code of the run adds: texts, histograms and images. A metric that is itself named "epoch" gets the tag "metrics/epoch". Each logger
/// writes a new file, so a resumed run adds one to its directory, and TensorBoard joins them: a training begins with a SessionLog START
/// event, by which TensorBoard drops points of later steps in earlier files. A file without values is removed at the end. IoError when the
/// file cannot be written.
///
/// Hooks of a module or callback reach it by find_logger<TensorBoardLogger>(trainer()), on rank 0. TensorBoard shows one kind of values for
/// each tag: a second kind of a tag gets a tag with its kind (scalars, text, histograms, images), "weight/images".
class TensorBoardLogger : public Logger, public RunAwareLogger {
 public:
  using Config = TensorBoardLoggerConfig;
  /// `folder` is that of the run.
  explicit TensorBoardLogger(const TensorBoardLoggerConfig& config, const std::filesystem::path& folder = ".");
  ~TensorBoardLogger() override;

  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  /// In TensorBoard's page of texts, under "config"; and one by one in its page of hyper-parameters, {"model.lr": 0.1}. Those of several
  /// calls before the training begins are joined. TensorBoard keeps the first hyper-parameters of a directory, also if a run resumes with
  /// others.
  void log_hyperparams(const std::string& yaml) override;
  void begin_training(int64_t step) override;
  /// Nothing to save; flushes the file.
  StateDict state_dict() override;
  void finalize() override;
  void set_log(const Log& log) override;
  void set_queue(CallQueue* queue) override;
  void set_end(RunEnd end) noexcept override { end_ = end; }

  /// Markdown, in the page of texts. From any thread, as the other calls that add something. In a training they copy their values and
  /// return; the logger's thread encodes and writes them, in order with the values of log_metrics. Up to 64 MiB wait for it; what is beyond
  /// is dropped, with a warning. A file that cannot be written is one warning in the run's log, and what was added is written later, as
  /// with the values of log_metrics: up to 64 MiB are kept.
  void add_text(const std::string& tag, const std::string& text, int64_t step);
  /// The distribution of a tensor's values, in the pages of histograms and distributions: any shape and dtype of real numbers, on any
  /// device. NaN and infinities are left out.
  void add_histogram(const std::string& tag, const Tensor& values, int64_t step);
  /// [height, width] or [channels, height, width], with 1 (grey), 3 (RGB) or 4 (RGBA) channels: uint8, bool, or floating point in 0 to 1,
  /// which is clamped. UsageError for others.
  void add_image(const std::string& tag, const Tensor& image, int64_t step);

  /// The folder of the event files.
  const std::filesystem::path& file() const noexcept;

 private:
  void write(const std::string& event);
  /// As write, for hooks: an IoError must not end the training.
  void add(const std::string& event);
  /// Calls `add` on the logger's thread, where there is one.
  void post(std::function<void()> add, int64_t bytes);
  /// The tag, with the prefix, under which values of this kind are shown.
  std::string tag_of(const std::string& name, const std::string& kind);
  void write_hyper_parameters();

  std::string prefix_;
  std::mutex queue_mutex_;
  CallQueue* queue_ = nullptr;
  std::mutex mutex_;  // of the members below; held during writes
  std::unique_ptr<detail::EventFile> file_;
  std::unique_ptr<detail::HyperParameters> hyper_parameters_;
  std::map<std::string, std::string> kinds_;  // by tag
  Log log_;
  bool used_ = false, warned_ = false;
  std::atomic<RunEnd> end_ = RunEnd::finished;
};

}  // namespace levin
