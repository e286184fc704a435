#include "levin/core/hdf5_lock.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace levin {
namespace {

// std::mutex may give the lock back to the thread that has just released it, for as long as that thread likes.
class FairMutex {
 public:
  void lock() {
    std::unique_lock hold(mutex_);
    if (depth_ > 0 && owner_ == std::this_thread::get_id()) {
      ++depth_;
      return;
    }
    const uint64_t ticket = next_++;
    turn_.wait(hold, [&] { return serving_ == ticket && depth_ == 0; });
    owner_ = std::this_thread::get_id();
    depth_ = 1;
  }
  void unlock() {
    const std::lock_guard hold(mutex_);
    if (--depth_ > 0) return;
    ++serving_;
    turn_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  uint64_t next_ = 0, serving_ = 0;
  std::thread::id owner_;
  int depth_ = 0;
};

// The library that it guards is one in the process, too. Never destroyed: a thread may still hold it when the program ends.
FairMutex& the_lock() {
  static auto* const lock = new FairMutex;
  return *lock;
}

}  // namespace

Hdf5Lock::Hdf5Lock() { the_lock().lock(); }
Hdf5Lock::~Hdf5Lock() { the_lock().unlock(); }

}  // namespace levin
