#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "levin/core/config.h"
#include "levin/loggers/spool_logger.h"

namespace levin {

namespace detail {
class MLFlowUploader;
}

struct MLFlowLoggerConfig {
  std::string experiment_name = "levin";
  std::string run_name = {};
  std::string tracking_uri = {};
  std::string prefix = {};
  std::filesystem::path save_dir = {};
  Seconds timeout = {10};
};
LEVIN_CONFIG(MLFlowLoggerConfig, (experiment_name, "experiment of MLflow"), (run_name, "name of the run; empty: the run directory's"),
             (tracking_uri,
              "http(s)://…: server that the training itself uploads to; else where levin-sync uploads, empty: MLFLOW_TRACKING_URI"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (save_dir, "folder of spool/; empty: the run's"),
             (timeout, "longest wait for the server: of a request, before a checkpoint, and at the end", at_least(Seconds{0.1})))
LEVIN_CHOICE(MLFlowLoggerConfig, "mlflow")

/// With a tracking_uri of http:// or https:// a thread uploads the spool while the training writes it: options as parameters and the
/// artifact config.yaml, values in batches, texts, histograms, images and files as artifacts, and how the run ended. A server that does not
/// answer delays nothing but, by `timeout` at most, a checkpoint and the end; the spool keeps what it did not confirm, for later or for
/// levin-sync. Credentials are mlflow's: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. ConfigError for a
/// tracking_uri with a password, which files of the run would show.
class MLFlowLogger : public SpoolLogger {
 public:
  using Config = MLFlowLoggerConfig;
  explicit MLFlowLogger(const MLFlowLoggerConfig& config, const std::filesystem::path& folder = ".");
  ~MLFlowLogger() override;
  /// Waits until the server has what was logged, within the limits above.
  StateDict state_dict() override;
  void finalize() override;
  void set_log(const Log& log) override;

 private:
  void spooled() override;

  Seconds timeout_;
  Log log_;
  std::unique_ptr<detail::MLFlowUploader> uploader_;  // null: levin-sync uploads
};

}  // namespace levin
