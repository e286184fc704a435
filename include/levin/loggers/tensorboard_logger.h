#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class EventFile;
}

struct TensorBoardLoggerConfig {
  std::filesystem::path save_dir = {};
  std::string prefix = {};
  Seconds flush_interval = {1};
};
LEVIN_CONFIG(TensorBoardLoggerConfig, (save_dir, "folder of the event files; empty: the run's"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (flush_interval, "longest time until a written value is in the file", at_least(Seconds{0})))
LEVIN_CHOICE(TensorBoardLoggerConfig, "tensorboard")

/// Event files for TensorBoard: one scalar for each metric (fp32, as TensorBoard stores them), the scalar "epoch", and texts. A metric that
/// is itself named "epoch" gets the tag "metrics/epoch". Each logger writes a new file, so a resumed run adds one to its directory, and
/// TensorBoard joins them: a training begins with a SessionLog START event, by which TensorBoard drops points of later steps in earlier
/// files. A file without values is removed at the end. IoError when the file cannot be written.
class TensorBoardLogger : public Logger {
 public:
  using Config = TensorBoardLoggerConfig;
  /// `folder` is that of the run.
  explicit TensorBoardLogger(const TensorBoardLoggerConfig& config, const std::filesystem::path& folder = ".");
  ~TensorBoardLogger() override;

  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  /// In TensorBoard's page of texts, under "config".
  void log_hyperparams(const std::string& yaml) override;
  void begin_training(int64_t step) override;
  /// Nothing to save; flushes the file.
  StateDict state_dict() override;
  void finalize() override;

  /// The folder of the event files.
  const std::filesystem::path& file() const noexcept;

 private:
  std::string prefix_;
  std::unique_ptr<detail::EventFile> file_;
  bool used_ = false;
};

}  // namespace levin
