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
             (flush_interval, "who watches the file waits so long at most", at_least(Seconds{0})))
LEVIN_CHOICE(TensorBoardLoggerConfig, "tensorboard")

/// Event files that TensorBoard shows: a scalar a metric (fp32, as TensorBoard has them), the epoch as one more, and texts. Each logger
/// makes its own file, so a run that is started again in its folder adds one, and TensorBoard puts them together: a training begins with a
/// SessionLog START event, by which TensorBoard drops points of later steps in earlier files. A file without values is removed at the
/// end. IoError when it cannot be written.
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
  void finalize() override;

  /// Where the events are.
  const std::filesystem::path& file() const noexcept;

 private:
  std::string prefix_;
  std::unique_ptr<detail::EventFile> file_;
  bool used_ = false;
};

}  // namespace levin
