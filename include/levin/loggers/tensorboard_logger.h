#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/loggers/media_logger.h"
#include "levin/trainer/logger.h"

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
/// TensorBoard shows one kind of values for each tag: a second kind of a tag gets a tag with its kind (scalars, text, histograms, images),
/// "weight/images".
class TensorBoardLogger : public Logger, public MediaLogger {
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
  void set_end(RunEnd end) noexcept override { end_ = end; }
  /// The folder of the event files.
  const std::filesystem::path& file() const noexcept;

 private:
  void write_text(const Entry& entry, const std::string& text) override;
  void write_histogram(const Entry& entry, const std::vector<detail::HistogramBucket>& buckets) override;
  void write_image(const Entry& entry, const detail::PngImage& image) override;
  void write(const std::string& event);
  /// The tag, with the prefix, under which values of this kind are shown.
  std::string tag_of(const std::string& name, const std::string& kind);
  void write_hyper_parameters();

  std::string prefix_;
  std::mutex mutex_;  // of the members below; held during writes
  std::unique_ptr<detail::EventFile> file_;
  std::unique_ptr<detail::HyperParameters> hyper_parameters_;
  std::map<std::string, std::string> kinds_;  // by tag
  bool used_ = false;
  std::atomic<RunEnd> end_ = RunEnd::finished;
};

}  // namespace levin
