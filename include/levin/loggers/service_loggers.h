#pragma once
// Loggers of web services. Compute nodes have no internet: each writes a spool, RUN_DIR/spool/SERVICE.jsonl, and levin-sync uploads it.
// MLFlowLogger is like them, and may upload itself.
#include <filesystem>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/loggers/mlflow_logger.h"
#include "levin/loggers/spool_logger.h"

namespace levin {

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

/// `folder` is that of the run. IoError when the spool cannot be written.
class WandbLogger : public SpoolLogger {
 public:
  using Config = WandbLoggerConfig;
  explicit WandbLogger(const WandbLoggerConfig& config, const std::filesystem::path& folder = ".");
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
