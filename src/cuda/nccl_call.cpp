#include "nccl_call.h"

#include <cuda_runtime_api.h>
#include <sys/prctl.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace levin {
namespace {

using namespace std::chrono_literals;

struct PendingCall {
  std::mutex mutex;
  std::condition_variable returned;
  std::optional<ncclResult_t> result;
  bool abandoned = false;
};

// Marks the call as abandoned on every way out but the return of its result.
class Abandon {
 public:
  explicit Abandon(std::shared_ptr<PendingCall> call) : call_(std::move(call)) {}
  ~Abandon() {
    const std::lock_guard lock(call_->mutex);
    call_->abandoned = true;
  }
  Abandon(const Abandon&) = delete;
  Abandon& operator=(const Abandon&) = delete;

 private:
  std::shared_ptr<PendingCall> call_;
};

}  // namespace

std::optional<ncclResult_t> call_with_limit(c10::Device device, std::chrono::milliseconds limit, const Poll& poll,
                                            std::function<ncclResult_t()> call, std::function<void(ncclResult_t)> too_late) {
  const auto pending = std::make_shared<PendingCall>();
  std::thread([pending, device, call = std::move(call), too_late = std::move(too_late)] {
    prctl(PR_SET_NAME, "levin-nccl-call");
    cudaSetDevice(device.index());
    const ncclResult_t code = call();
    {
      const std::lock_guard lock(pending->mutex);
      if (!pending->abandoned) pending->result = code;
    }
    if (pending->result)
      pending->returned.notify_one();
    else
      too_late(code);
  }).detach();
  const Abandon abandon(pending);
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    {
      std::unique_lock lock(pending->mutex);
      if (pending->returned.wait_for(lock, 2ms, [&] { return pending->result.has_value(); })) return pending->result;
    }
    poll();
    if (std::chrono::steady_clock::now() > end) return std::nullopt;
  }
}

}  // namespace levin
