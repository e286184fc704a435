#pragma once
// Loggers of web services. Compute nodes have no internet: each writes a spool, RUN_DIR/spool/SERVICE.jsonl, and levin-sync uploads it.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class Spool;
}

/// The names of Lightning's arguments; but `run_name`, since `name` is the logger's.
struct WandbLoggerConfig {
  std::string project = "levin";
  std::string entity = {};
  std::string run_name = {};
  std::string group = {};
  std::vector<std::string> tags = {};
  std::string prefix = {};
  std::filesystem::path save_dir = {};
};
LEVIN_CONFIG(WandbLoggerConfig, (project, "project of Weights & Biases"), (entity, "user or team; empty: the default of who uploads"),
             (run_name, "name of the run; empty: the run directory's"), (group, "group of the run; empty: none"), (tags, "tags of the run"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (save_dir, "folder of spool/; empty: the run's"))
LEVIN_CHOICE(WandbLoggerConfig, "wandb")

struct MLFlowLoggerConfig {
  std::string experiment_name = "levin";
  std::string run_name = {};
  std::string tracking_uri = {};
  std::string prefix = {};
  std::filesystem::path save_dir = {};
};
LEVIN_CONFIG(MLFlowLoggerConfig, (experiment_name, "experiment of MLflow"), (run_name, "name of the run; empty: the run directory's"),
             (tracking_uri, "server that levin-sync uploads to; empty: MLFLOW_TRACKING_URI where it runs"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (save_dir, "folder of spool/; empty: the run's"))
LEVIN_CHOICE(MLFlowLoggerConfig, "mlflow")

struct CometLoggerConfig {
  std::string project = "levin";
  std::string workspace = {};
  std::string run_name = {};
  std::vector<std::string> tags = {};
  std::string prefix = {};
  std::filesystem::path save_dir = {};
};
LEVIN_CONFIG(CometLoggerConfig, (project, "project of Comet"), (workspace, "workspace; empty: the default of who uploads"),
             (run_name, "name of the experiment; empty: the run directory's"), (tags, "tags of the experiment"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (save_dir, "folder of spool/; empty: the run's"))
LEVIN_CHOICE(CometLoggerConfig, "comet")

struct NeptuneLoggerConfig {
  std::string project = {};
  std::string run_name = {};
  std::vector<std::string> tags = {};
  std::string prefix = {};
  std::filesystem::path save_dir = {};
};
LEVIN_CONFIG(NeptuneLoggerConfig, (project, "project of Neptune, WORKSPACE/NAME; empty: NEPTUNE_PROJECT where levin-sync runs"),
             (run_name, "name of the run; empty: the run directory's"), (tags, "tags of the run"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (save_dir, "folder of spool/; empty: the run's"))
LEVIN_CHOICE(NeptuneLoggerConfig, "neptune")

/// A logger that spools for a service; see tools/levin_sync. A run that resumes continues its spool, and the service's run.
class SpoolLogger : public Logger {
 public:
  ~SpoolLogger() override;
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  /// The options one by one: {"trainer.max_epochs": "6"}.
  void log_hyperparams(const std::string& yaml) override;
  void begin_training(int64_t step) override;
  /// Nothing to save; flushes the spool.
  StateDict state_dict() override;
  void finalize() override;

 protected:
  using Settings = std::vector<std::pair<std::string, std::string>>;
  /// `name` empty: that of the folder.
  SpoolLogger(const std::string& service, const std::filesystem::path& folder, const std::string& name, const std::string& prefix,
              const Settings& settings, const std::vector<std::string>& tags);

 private:
  std::string prefix_;
  std::unique_ptr<detail::Spool> spool_;
};

/// `folder` is that of the run. IoError when the spool cannot be written.
class WandbLogger : public SpoolLogger {
 public:
  using Config = WandbLoggerConfig;
  explicit WandbLogger(const WandbLoggerConfig& config, const std::filesystem::path& folder = ".");
};

class MLFlowLogger : public SpoolLogger {
 public:
  using Config = MLFlowLoggerConfig;
  explicit MLFlowLogger(const MLFlowLoggerConfig& config, const std::filesystem::path& folder = ".");
};

class CometLogger : public SpoolLogger {
 public:
  using Config = CometLoggerConfig;
  explicit CometLogger(const CometLoggerConfig& config, const std::filesystem::path& folder = ".");
};

class NeptuneLogger : public SpoolLogger {
 public:
  using Config = NeptuneLoggerConfig;
  explicit NeptuneLogger(const NeptuneLoggerConfig& config, const std::filesystem::path& folder = ".");
};

}  // namespace levin
