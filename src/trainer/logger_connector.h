#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/named_values.h"
#include "levin/trainer/run_aware_logger.h"

namespace levin {

class Logger;
class QueuedLogger;
class Session;
struct RunReport;
struct TrainerConfig;

/// Passes a Trainer's values to its loggers, which live on rank 0 and write on threads, and keeps the newest of each name.
class LoggerConnector {
 public:
  /// All must outlive this.
  LoggerConnector(const TrainerConfig& config, Session& session, const std::vector<std::shared_ptr<Logger>>& loggers, RunReport& report);
  ~LoggerConnector();

  /// `step`: the one that the values belong to; by default the last complete one.
  void log_metrics(const NamedValues& values, std::optional<int64_t> step = {});
  void log_hyperparams(const std::string& yaml);
  /// The newest value of each name that was logged since the last call.
  NamedValues take_new_metrics() { return std::exchange(new_metrics_, {}); }
  /// The queues of the loggers, none where the config turns loggers off: their calls return at once, or wait for all calls before them.
  const std::vector<std::shared_ptr<QueuedLogger>>& loggers();
  /// Returns when the loggers have all that was passed to them.
  void drain();
  /// How the run ends if nothing else happens; at first failed.
  void set_end(RunEnd end) noexcept { end_ = end; }
  /// The run has ended: passes on how, and loggers write what they hold.
  void finalize();

 private:
  bool writes() const noexcept;
  void pass_end() const;

  const TrainerConfig& config_;
  Session& session_;
  const std::vector<std::shared_ptr<Logger>>& loggers_;
  std::vector<std::shared_ptr<QueuedLogger>> queues_;  // one for each of loggers_
  RunReport& report_;
  NamedValues new_metrics_;
  RunEnd end_ = RunEnd::failed;
};

}  // namespace levin
