#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "levin/core/log.h"
#include "levin/trainer/call_queue.h"
#include "levin/trainer/logger.h"

namespace levin {

/// Calls a logger on a thread, in the order of the calls, so that its disk or network never delays a step. Values that the logger cannot
/// write become a warning. The start of a training and its state are calls on the caller's thread, after all calls before them.
class QueuedLogger : public Logger, public CallQueue {
 public:
  QueuedLogger(std::shared_ptr<Logger> logger, Log log);
  /// Waits for all calls.
  ~QueuedLogger() override;

  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  void log_hyperparams(const std::string& yaml) override;
  StateDict state_dict() override;
  void load_state_dict(const StateDict& state) override;
  void begin_training(int64_t step) override;
  void finalize() override;
  void post(std::function<void()> call, int64_t bytes) override;
  /// Returns when all calls have ended.
  void drain();

 private:
  struct Call {
    std::function<void()> make;
    int64_t bytes;
  };
  void serve();
  void call(const std::function<void()>& call);

  const std::shared_ptr<Logger> logger_;
  const Log log_;
  std::mutex mutex_;
  std::condition_variable posted_, served_;
  std::deque<Call> calls_;
  int64_t bytes_ = 0;  // of calls_ and the call under way
  bool calling_ = false, ends_ = false;
  int64_t dropped_ = 0, failed_ = 0;
  std::string last_error_;
  std::thread thread_;  // started by the first call
};

}  // namespace levin
