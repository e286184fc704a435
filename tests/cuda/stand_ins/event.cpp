// Events: marks in the queue of a stream.
#include <condition_variable>
#include <memory>
#include <mutex>

#include "stream.h"

namespace {

class Mark {
 public:
  void set() {
    {
      const std::lock_guard lock(mutex_);
      set_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }
  bool is_set() {
    const std::lock_guard lock(mutex_);
    return set_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

}  // namespace

struct CUevent_st {
  void record(cudaStream_t stream) {
    auto next = std::make_shared<Mark>();
    {
      const std::lock_guard lock(mutex);
      mark = next;
    }
    stand_in::launch(stream, [next] { next->set(); });
  }
  /// Null before the first record.
  std::shared_ptr<Mark> last() {
    const std::lock_guard lock(mutex);
    return mark;
  }

 private:
  std::mutex mutex;
  std::shared_ptr<Mark> mark;
};

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->record(stream);
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) { return cudaEventRecord(event, stream); }
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const auto mark = event->last();
  return !mark || mark->is_set() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const auto mark = event->last()) mark->wait();
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const auto mark = event->last()) stand_in::launch(stream, [mark] { mark->wait(); });
  return cudaSuccess;
}

}  // extern "C"
