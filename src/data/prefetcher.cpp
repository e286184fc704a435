#include "levin/data/prefetcher.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>

#include "levin/core/trace_context.h"

namespace levin::detail {
namespace {

// Threads inherit the signal mask: those of ours leave signals to the threads of the program, but for those that report a crash.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t mask;
    sigfillset(&mask);
    for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&mask, crash);
    pthread_sigmask(SIG_BLOCK, &mask, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

Prefetcher::Prefetcher(Fill fill, int64_t threads, int64_t depth) : fill_(std::move(fill)), slots_(static_cast<size_t>(depth) + 1) {
  const SignalsBlocked blocked;
  try {
    for (int64_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {  // the system gives no more threads: end those that run
    end();
    throw;
  }
}

Prefetcher::~Prefetcher() { end(); }

void Prefetcher::end() {
  std::unique_lock lock(mutex_);
  stop(lock);
  ending_ = true;
  room_.notify_all();
}

void Prefetcher::start(int64_t first, int64_t last) {
  std::unique_lock lock(mutex_);
  stop(lock);
  held_ = next_take_ = next_fill_ = first;
  last_ = last;
  room_.notify_all();
}

void Prefetcher::stop() {
  std::unique_lock lock(mutex_);
  stop(lock);
}

bool Prefetcher::stop(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  last_ = next_fill_;
  if (!filled_.wait_for(lock, most, [this] { return filling_ == 0; })) return false;
  stop(lock);
  return true;
}

bool Prefetcher::wait(int64_t batches, std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  const int64_t end = std::min({next_take_ + batches, last_, held_ + std::ssize(slots_)});
  const auto filled = [&] {
    for (int64_t number = next_take_; number < end; ++number) {
      const Slot& next = slot(number);
      if (!next.ready || next.error) return next.ready;
    }
    return true;
  };
  return most.count() > 0 ? filled_.wait_for(lock, most, filled) : filled();
}

void Prefetcher::stop(std::unique_lock<std::mutex>& lock) {
  last_ = next_fill_;
  filled_.wait(lock, [this] { return filling_ == 0; });
  for (auto& slot : slots_) {
    slot.ready = false;
    slot.error = nullptr;
  }
}

Batch& Prefetcher::take() {
  std::unique_lock lock(mutex_);
  Slot& next = slot(next_take_);
  filled_.wait(lock, [&] { return next.ready; });
  held_ = next_take_++;  // the batch before may be filled again from now on
  next.ready = false;
  const auto error = std::exchange(next.error, nullptr);
  lock.unlock();
  room_.notify_one();
  if (error) std::rethrow_exception(error);
  return next.batch;
}

void Prefetcher::work() {
  pthread_setname_np(pthread_self(), "levin-data");
  std::unique_lock lock(mutex_);
  while (true) {
    room_.wait(lock, [this] { return ending_ || (next_fill_ < last_ && next_fill_ - held_ < static_cast<int64_t>(slots_.size())); });
    if (ending_) return;
    const int64_t number = next_fill_++;
    Slot& mine = slot(number);
    ++filling_;
    lock.unlock();
    std::exception_ptr error;
    try {
      const HookScope scope("reading a batch, on a thread of the data loader");
      fill_(number, mine.batch);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --filling_;
    mine.error = error;
    mine.ready = true;
    filled_.notify_one();
  }
}

}  // namespace levin::detail
