#include "queued_logger.h"

#include <exception>
#include <utility>

#include "levin/trainer/run_aware_logger.h"

namespace levin {
namespace {

// A logger that hangs must not fill the memory.
constexpr size_t most_waiting_calls = 100'000;
constexpr int64_t most_waiting_bytes = int64_t{64} << 20;  // but one call may have more

}  // namespace

QueuedLogger::QueuedLogger(std::shared_ptr<Logger> logger, Log log) : logger_(std::move(logger)), log_(std::move(log)) {
  if (auto* aware = dynamic_cast<RunAwareLogger*>(logger_.get())) aware->set_queue(this);
}

QueuedLogger::~QueuedLogger() {
  if (auto* aware = dynamic_cast<RunAwareLogger*>(logger_.get())) aware->set_queue(nullptr);
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

void QueuedLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  post([this, values, epoch, step] { logger_->log_metrics(values, epoch, step); }, 0);
}

void QueuedLogger::log_hyperparams(const std::string& yaml) {
  post([this, yaml] { logger_->log_hyperparams(yaml); }, 0);
}

StateDict QueuedLogger::state_dict() {
  drain();
  StateDict state;
  call([&] { state = logger_->state_dict(); });
  return state;
}

void QueuedLogger::load_state_dict(const StateDict& state) {
  drain();
  if (!state.empty()) logger_->load_state_dict(state);
}

void QueuedLogger::begin_training(int64_t step) {
  drain();
  logger_->begin_training(step);
}

void QueuedLogger::finalize() {
  drain();
  call([&] { logger_->finalize(); });
  if (failed_ > 1) log_.warning("[loggers] {} calls of a logger failed; its values are not complete", failed_);
  if (dropped_ > 0) log_.warning("[loggers] {} calls were dropped: a logger was too slow", dropped_);
  failed_ = dropped_ = 0;
}

void QueuedLogger::drain() {
  std::unique_lock lock(mutex_);
  served_.wait(lock, [&] { return calls_.empty() && !calling_; });
}

void QueuedLogger::post(std::function<void()> call, int64_t bytes) {
  bool first_drop = false;
  {
    const std::lock_guard lock(mutex_);
    if (calls_.size() >= most_waiting_calls || (bytes > 0 && bytes_ > 0 && bytes > most_waiting_bytes - bytes_)) {
      first_drop = dropped_++ == 0;
    } else {
      bytes_ += bytes;
      calls_.push_back({std::move(call), bytes});
      if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
    }
  }
  posted_.notify_one();
  if (first_drop) log_.warning("[loggers] a logger is too slow, and calls are dropped; the training continues");
}

void QueuedLogger::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    posted_.wait(lock, [&] { return !calls_.empty() || ends_; });
    if (calls_.empty()) return;
    auto next = std::move(calls_.front());
    calls_.pop_front();
    calling_ = true;
    lock.unlock();
    call(next.make);
    next.make = nullptr;  // releases what it holds
    lock.lock();
    bytes_ -= next.bytes;
    calling_ = false;
    if (calls_.empty()) served_.notify_all();
  }
}

// On the thread, or on the caller's while the thread waits.
void QueuedLogger::call(const std::function<void()>& call) {
  try {
    call();
    return;
  } catch (const std::exception& error) {
    last_error_ = error.what();
  } catch (...) {
    last_error_ = "an error of unknown type";
  }
  if (failed_++ == 0) log_.warning("{}; the training continues without what this logger cannot write", last_error_);
}

}  // namespace levin
