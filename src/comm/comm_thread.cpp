#include "comm_thread.h"

#include <sys/prctl.h>

#include <atomic>
#include <chrono>

#include "levin/comm/wait_timer.h"
#include "levin/core/profile_range.h"

namespace levin::detail {

struct CommThread::Task {
  std::function<void()> operation;
  RangeObserver* observer = nullptr;  // of the thread that the operation runs for
  std::exception_ptr error;
  std::atomic<bool> done{false};

  void run() {
    const ObservedThread observed(observer);
    try {
      operation();
    } catch (...) {
      error = std::current_exception();
    }
    operation = nullptr;  // releases its tensors
    done = true;
    done.notify_all();
  }
  void wait() {
    if (!done) {
      const WaitTimer timer;
      done.wait(false);
    }
    if (error) std::rethrow_exception(error);
  }
};

CommThread::CommThread(bool threaded, std::function<void()> idle) : idle_(std::move(idle)) {
  if (threaded) thread_ = std::thread([this] { loop(); });
}

CommThread::~CommThread() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Work CommThread::run(std::function<void()> operation) {
  if (!threaded()) {
    operation();
    return {};
  }
  auto task = std::make_shared<Task>();
  task->operation = std::move(operation);
  task->observer = ObservedThread::current();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(task);
  }
  wake_.notify_one();
  return Work([task] { task->wait(); });
}

bool CommThread::busy() {
  const std::lock_guard lock(mutex_);
  return running_ || !queue_.empty();
}

std::shared_ptr<CommThread::Task> CommThread::next() {
  using namespace std::chrono_literals;
  std::unique_lock lock(mutex_);
  running_ = false;
  const auto has_work = [this] { return stop_ || !queue_.empty(); };
  while (!has_work()) {
    if (!idle_) {
      wake_.wait(lock, has_work);
    } else if (!wake_.wait_for(lock, 5ms, has_work)) {
      lock.unlock();
      idle_();
      lock.lock();
    }
  }
  if (queue_.empty()) return nullptr;
  auto task = std::move(queue_.front());
  queue_.pop_front();
  running_ = true;
  return task;
}

void CommThread::loop() {
  prctl(PR_SET_NAME, "levin-comm");
  prctl(PR_SET_TIMERSLACK, 1000);  // the default slack of 50 us would extend naps of about 20 us
  while (const auto task = next()) task->run();
}

}  // namespace levin::detail
