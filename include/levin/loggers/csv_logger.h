#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class TrainingLog;
}

/// Lightning's arguments of CSVLogger; a flush is due after some time, not after some rows.
struct CSVLoggerConfig {
  std::filesystem::path save_dir = {};
  std::string prefix = {};
  Seconds flush_interval = {1};
};
LEVIN_CONFIG(CSVLoggerConfig, (save_dir, "folder of metrics.csv; empty: the run's"),
             (prefix, "put before the names of the values, with a - between; empty: none"),
             (flush_interval, "longest time until a written value is in the file", at_least(Seconds{0})))
LEVIN_CHOICE(CSVLoggerConfig, "csv", "CSVLogger")

/// metrics.csv with the columns step, epoch, name, value: a line a value, so that a new metric needs no new column. An existing file is
/// continued. A training that resumes, or starts over, moves the lines that are not its past to the end of metrics.abandoned.csv, with
/// the time of the move in front, so that metrics.csv has one value for each step and name. IoError when a file cannot be written.
class CSVLogger : public Logger {
 public:
  using Config = CSVLoggerConfig;
  /// `folder` is that of the run.
  explicit CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder = ".");
  /// Into a file of any name.
  explicit CSVLogger(const std::filesystem::path& file);
  ~CSVLogger() override;
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  /// The file's length: what is beyond it is not the past of a run that resumes.
  StateDict state_dict() override;
  void load_state_dict(const StateDict& state) override;
  void begin_training(int64_t step) override;
  void finalize() override;

 private:
  CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder, const std::filesystem::path& name);

  std::string prefix_;
  std::unique_ptr<detail::TrainingLog> log_;
};

}  // namespace levin
