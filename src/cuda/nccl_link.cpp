#include "nccl_link.h"

#include <sched.h>

#include <exception>
#include <thread>

namespace levin {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
constexpr auto patience_at_the_end = 10s;

ncclConfig_t without_blocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

void pause(int tries) {
  if (tries < 1000)
    sched_yield();
  else
    std::this_thread::sleep_for(100us);
}

}  // namespace

std::shared_ptr<NcclLink> NcclLink::connect(const ncclUniqueId& id, int rank, int size, Poll poll, std::chrono::seconds limit,
                                            const std::string& hosts) {
  std::shared_ptr<NcclLink> link(new NcclLink(std::move(poll), limit));
  auto config = without_blocking();
  check_nccl(ncclCommInitRankConfig(&link->link_, size, id, rank, &config), "ncclCommInitRankConfig");
  link->wait_until_ready("ncclCommInitRankConfig", hosts, true);
  return link;
}

std::shared_ptr<NcclLink> NcclLink::split(int color, int key, Poll poll, std::chrono::seconds limit, const std::string& hosts) {
  std::shared_ptr<NcclLink> link(new NcclLink(std::move(poll), limit));
  auto config = without_blocking();
  {
    const std::lock_guard lock(mutex_);
    if (link_) check_nccl(ncclCommSplit(link_, color, key, &link->link_, &config), "ncclCommSplit", link_);
  }
  wait_until_ready("ncclCommSplit", hosts, true);  // only then is the child there
  link->wait_until_ready("ncclCommSplit", hosts, true);
  return link;
}

NcclLink::~NcclLink() {
  if (std::uncaught_exceptions() > 0) abort();
  if (!link_) return;
  auto state = ncclCommFinalize(link_);
  const auto end = Clock::now() + patience_at_the_end;
  for (int tries = 0; state == ncclInProgress && Clock::now() < end; pause(tries++))
    if (ncclCommGetAsyncError(link_, &state) != ncclSuccess) state = ncclInternalError;
  if (state == ncclSuccess)
    ncclCommDestroy(link_);
  else
    ncclCommAbort(link_);
}

void NcclLink::run(const char* call, const std::function<ncclResult_t(ncclComm_t)>& queue) {
  {
    const std::lock_guard lock(mutex_);
    if (link_) check_nccl(queue(link_), call, link_);
  }
  wait_until_ready(call, {}, false);
}

void NcclLink::wait_until_ready(const char* call, const std::string& hosts, bool limited) {
  const auto end = Clock::now() + limit_;
  for (int tries = 0;; pause(tries++)) {
    bool aborted = false;
    {
      const std::lock_guard lock(mutex_);
      ncclResult_t state = ncclSuccess;
      aborted = link_ == nullptr;
      if (!aborted) {
        check_nccl(ncclCommGetAsyncError(link_, &state), "ncclCommGetAsyncError", link_);
        check_nccl(state, call, link_);
        if (state == ncclSuccess) return;
      }
    }
    poll_();
    if (aborted) throw CudaError(fmt::format("{} after the communicator was aborted", call));
    if (limited && Clock::now() > end) {
      abort();
      throw CudaError(fmt::format("{}: the ranks have not met within {} s: {}", call, limit_.count(), hosts),
                      "see whether every host reaches the others (NCCL_SOCKET_IFNAME chooses the network), and NCCL_DEBUG=INFO");
    }
  }
}

void NcclLink::abort() noexcept {
  const std::lock_guard lock(mutex_);
  if (link_) ncclCommAbort(std::exchange(link_, nullptr));
}

std::string NcclLink::failure() noexcept {
  const std::lock_guard lock(mutex_);
  if (!link_) return "aborted";
  ncclResult_t state = ncclSuccess;
  const auto code = ncclCommGetAsyncError(link_, &state);
  if (code != ncclSuccess) state = code;
  return state == ncclSuccess || state == ncclInProgress ? "" : ncclGetErrorString(state);
}

void* NcclLink::add_buffer(void* data, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  void* buffer = nullptr;
  if (link_ && ncclCommRegister(link_, data, bytes, &buffer) != ncclSuccess) buffer = nullptr;
  return buffer;
}

void NcclLink::remove_buffer(void* buffer) noexcept {
  const std::lock_guard lock(mutex_);
  if (link_ && buffer) ncclCommDeregister(link_, buffer);
}

}  // namespace levin
