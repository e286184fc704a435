#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "levin/core/config.h"
#include "levin/loggers/line_logger.h"

namespace levin {

/// Lightning's arguments of CSVLogger; a flush is due after some time, not after some rows.
struct CSVLoggerConfig {
  std::filesystem::path save_dir = {};
  std::string prefix = {};
  Seconds flush_interval = {1};
};
LEVIN_CONFIG(CSVLoggerConfig, (save_dir, "folder of metrics.csv; empty: the run's"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (flush_interval, "longest time until a written value is in the file", at_least(Seconds{0})))
LEVIN_CHOICE(CSVLoggerConfig, "csv")

/// metrics.csv with the columns step, epoch, name, value: a line a value, so that a new metric needs no new column. Lines in
/// metrics.abandoned.csv have the time of the move in front. IoError when a file cannot be written.
class CSVLogger : public LineLogger {
 public:
  using Config = CSVLoggerConfig;
  /// `folder` is that of the run.
  explicit CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder = ".");
  /// Into a file of any name.
  explicit CSVLogger(const std::filesystem::path& file);
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;

 private:
  CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder, const std::filesystem::path& name);
};

}  // namespace levin
