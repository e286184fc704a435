#include "nccl_link.h"

#include <exception>
#include <vector>

namespace levin {
namespace {

using namespace std::chrono_literals;
constexpr auto patience_for_destroy = 10s;
// A call that holds the communicator for longer waits for ranks that do not come.
constexpr auto patience_for_a_call = 1s;

struct LinkConfig {
  explicit LinkConfig(const std::string& name) {
    config.blocking = 1;
    config.splitShare = 1;  // a split looks at its parent's
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    config.commName = name.c_str();
#else
    static_cast<void>(name);
#endif
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
};

CudaError missing_ranks(const char* call, const NcclLink::Options& options) {
  return CudaError(
      fmt::format("{}: ranks are missing after {:g} s: {}", call, std::chrono::duration<double>(options.limit).count(), options.ranks),
      "see whether every host reaches the others (NCCL_SOCKET_IFNAME chooses the network), and NCCL_DEBUG=INFO");
}

void abort_late(ncclResult_t code, ncclComm_t link) {
  if (code == ncclSuccess && link) ncclCommAbort(link);
}

}  // namespace

std::shared_ptr<NcclLink> NcclLink::connect(std::span<const ncclUniqueId> ids, int rank, int size, Options options) {
  std::shared_ptr<NcclLink> link(new NcclLink(std::move(options)));
  struct Start {
    std::vector<ncclUniqueId> ids;
    std::string name;
    ncclComm_t made = nullptr;
  };
  const auto start = std::make_shared<Start>(Start{{ids.begin(), ids.end()}, link->options_.name});
  const auto call = [start, rank, size] {
    LinkConfig config(start->name);
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 23, 0)
    if (start->ids.size() > 1)
      return ncclCommInitRankScalable(&start->made, size, rank, static_cast<int>(start->ids.size()), start->ids.data(), &config.config);
#endif
    return ncclCommInitRankConfig(&start->made, size, start->ids.front(), rank, &config.config);
  };
  const auto code = call_with_limit(link->options_.device, link->options_.limit, link->options_.poll, call,
                                    [start](ncclResult_t late) { abort_late(late, start->made); });
  if (!code) throw missing_ranks("ncclCommInitRankConfig", link->options_);
  check_nccl(*code, "ncclCommInitRankConfig");
  link->link_ = start->made;
  return link;
}

ncclResult_t NcclLink::manage(const char* name, const Options& options, std::function<ncclResult_t(ncclComm_t)> call,
                              std::function<void()> discard) {
  const std::unique_lock lock(*mutex_);
  // On every way out but the last the thread is in NCCL with this communicator, or has aborted it.
  const ncclComm_t link = link_.exchange(nullptr);
  if (!link || aborted_) {
    link_ = link;
    options_.poll();
    throw CudaError(fmt::format("{} after the communicator was aborted", name));
  }
  const auto code = call_with_limit(
      options.device, options.limit, options.poll, [link, call = std::move(call)] { return call(link); },
      [link, discard = std::move(discard)](ncclResult_t late) {
        if (late == ncclSuccess) discard();
        ncclCommAbort(link);
      });
  if (!code) throw missing_ranks(name, options);
  link_ = link;
  if (aborted_) ncclCommAbort(link_.exchange(nullptr));  // meanwhile
  return *code;
}

std::shared_ptr<NcclLink> NcclLink::split(int color, int key, Options options) {
  std::shared_ptr<NcclLink> child(new NcclLink(std::move(options)));
  child->mutex_ = mutex_;
  struct Split {
    std::string name;
    ncclComm_t made = nullptr;
  };
  const auto state = std::make_shared<Split>(Split{child->options_.name});
  const auto call = [state, color, key](ncclComm_t parent) {
    LinkConfig config(state->name);
    return ncclCommSplit(parent, color, key, &state->made, &config.config);
  };
  const auto code = manage("ncclCommSplit", child->options_, call, [state] {
    if (state->made) ncclCommAbort(state->made);
  });
  check_nccl(code, "ncclCommSplit", link_);
  child->link_ = state->made;
  if (aborted_) child->abort();
  return child;
}

#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
void* NcclLink::register_window(void* data, size_t bytes) {
  const auto window = std::make_shared<ncclWindow_t>(nullptr);
  const auto call = [window, data, bytes](ncclComm_t link) {
    return ncclCommWindowRegister(link, data, bytes, window.get(), NCCL_WIN_COLL_SYMMETRIC);
  };
  const auto code = manage("ncclCommWindowRegister", options_, call, [] {});
  return code == ncclSuccess ? *window : nullptr;
}

ncclResult_t NcclLink::deregister_window(void* window) noexcept {
  return try_run([window](ncclComm_t link) { return ncclCommWindowDeregister(link, static_cast<ncclWindow_t>(window)); });
}
#else
void* NcclLink::register_window(void*, size_t) { return nullptr; }
ncclResult_t NcclLink::deregister_window(void*) noexcept { return ncclInvalidUsage; }
#endif

NcclLink::~NcclLink() { close(); }

void NcclLink::run(const char* call, const std::function<ncclResult_t(ncclComm_t)>& queue) {
  ncclResult_t code = ncclInvalidUsage;
  {
    const std::lock_guard lock(*mutex_);
    if (const auto link = link_.load(); link && !aborted_) {
      code = queue(link);
      if (code == ncclSuccess) return;
    }
  }
  options_.poll();  // where another rank was first, its reason is the cause
  if (aborted_) throw CudaError(fmt::format("{} after the communicator was aborted", call));
  check_nccl(code, call, link_);
}

ncclResult_t NcclLink::try_run(const std::function<ncclResult_t(ncclComm_t)>& call) noexcept {
  const std::unique_lock lock(*mutex_, patience_for_a_call);
  if (!lock) return ncclInProgress;
  const auto link = link_.load();
  return link && !aborted_ ? call(link) : ncclInvalidUsage;
}

void NcclLink::abort() noexcept {
  aborted_ = true;
  // NCCL's abort ends a call that waits for ranks, so it does not wait for the call. The thread of a split aborts itself.
  const std::unique_lock lock(*mutex_, patience_for_a_call);
  if (const auto link = link_.exchange(nullptr)) ncclCommAbort(link);
}

// After an error, or where it takes too long, the communicator stays: an abort would end the kernels of those that share its resources.
void NcclLink::close() noexcept {
  const std::unique_lock lock(*mutex_, patience_for_a_call);
  const auto link = link_.exchange(nullptr);
  if (!link) return;
  const auto call = [link] {
    const auto code = ncclCommFinalize(link);
    return code == ncclSuccess ? ncclCommDestroy(link) : code;
  };
  try {
    call_with_limit(options_.device, patience_for_destroy, options_.poll, call, [](ncclResult_t) {});
  } catch (const std::exception&) {  // the job was aborted, or no thread could start
  }
}

std::string NcclLink::failure() noexcept {
  const std::unique_lock lock(*mutex_, std::try_to_lock);
  if (!lock) return "";
  const auto link = link_.load();
  if (!link) return "";
  ncclResult_t state = ncclSuccess;
  const auto code = ncclCommGetAsyncError(link, &state);
  if (code != ncclSuccess) state = code;
  return state == ncclSuccess || state == ncclInProgress ? "" : ncclGetErrorString(state);
}

}  // namespace levin
