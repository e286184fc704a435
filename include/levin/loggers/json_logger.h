#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "levin/core/config.h"
#include "levin/loggers/line_logger.h"

namespace levin {

struct JSONLoggerConfig {
  std::filesystem::path save_dir = {};
  std::string prefix = {};
  Seconds flush_interval = {1};
};
LEVIN_CONFIG(JSONLoggerConfig, (save_dir, "folder of metrics.jsonl; empty: the run's"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (flush_interval, "longest time until a written value is in the file", at_least(Seconds{0})))
LEVIN_CHOICE(JSONLoggerConfig, "json")

/// metrics.jsonl: an object a line, {"step":99,"epoch":1,"time":1700000000.5,"train_loss":0.25}, `time` in seconds since 1970 (UTC). NaN
/// and infinities are the strings "NaN", "Infinity" and "-Infinity". A metric that is itself named step, epoch or time is "metrics/NAME".
/// Like metrics.csv the file follows the training: what is not its past is moved to metrics.abandoned.jsonl, with the time as "moved".
class JSONLogger : public LineLogger {
 public:
  using Config = JSONLoggerConfig;
  /// `folder` is that of the run. IoError when the file cannot be written.
  explicit JSONLogger(const JSONLoggerConfig& config, const std::filesystem::path& folder = ".");
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
};

}  // namespace levin
