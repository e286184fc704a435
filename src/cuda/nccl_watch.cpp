#include "nccl_watch.h"

#include <sys/prctl.h>

#include "levin/comm/node_group.h"

namespace levin {

NcclWatch::NcclWatch(std::shared_ptr<NcclLink> link, Communicator& host, c10::Device device)
    : link_(std::move(link)), host_(host), thread_([this, device] { loop(device); }) {}

NcclWatch::~NcclWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void NcclWatch::loop(c10::Device device) {
  using namespace std::chrono_literals;
  prctl(PR_SET_NAME, "levin-nccl");
  cudaSetDevice(device.index());
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, 20ms, [this] { return stop_; })) {
    lock.unlock();
    const bool more = check();
    lock.lock();
    if (!more) return;
  }
}

bool NcclWatch::check() {
  const std::string failure = link_->failure();
  if (failure.empty() && !host_.node()->aborted()) return true;
  if (!failure.empty()) host_.abort(fmt::format("[cuda] NCCL failed: {}", failure));
  link_->abort();
  return false;
}

}  // namespace levin
