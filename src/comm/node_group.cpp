#include "levin/comm/node_group.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <tuple>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/wait_timer.h"
#include "mapped_window.h"
#include "shared_buffer_pool.h"

namespace levin {
namespace {

/// A rank's flag and its contribution to an exchange, of which the first 56 bytes share the cache line of the flag.
struct alignas(128) Slot {
  std::atomic<uint64_t> stamp;  // number of barriers so far << 8 | bytes in this exchange
  std::byte bytes[NodeGroup::max_bytes];
};
static_assert(sizeof(Slot) == 128 && NodeGroup::max_bytes < 256);

struct AbortWord {
  std::atomic<int> version;  // 0: not set; odd: being written
  int by_rank;
  char reason[2040];

  bool write(int expected, int rank, std::string_view text) noexcept {
    if (!version.compare_exchange_strong(expected, expected + 1)) return false;
    by_rank = rank;
    const size_t length = std::min(text.size(), sizeof(reason) - 1);
    std::memcpy(reason, text.data(), length);
    reason[length] = 0;
    version.store(expected + 2, std::memory_order_release);
    return true;
  }
  AbortNotice read() const {
    // Bounded: the writer may have been killed in the middle.
    AbortNotice notice;
    for (int tries = 0, before = version.load(std::memory_order_acquire); before != 0 && tries < 10000; tries++) {
      notice = {by_rank, std::string(reason, strnlen(reason, sizeof(reason)))};
      std::atomic_thread_fence(std::memory_order_acquire);
      const int after = version.load(std::memory_order_relaxed);
      if (before == after && before % 2 == 0) break;
      before = after;
      sched_yield();
    }
    return notice;
  }
};

/// A rank's part of the control window, zero-filled; only rank 0's abort word is used. The slots are double-buffered: a rank is at most one
/// barrier ahead, so it never overwrites a slot that others still read.
struct ControlPart {
  Slot slots[2];
  alignas(128) AbortWord abort;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

inline void relax() {
#if __x86_64__
  __builtin_ia32_pause();
#elif __aarch64__
  asm volatile("yield");
#endif
}

// Oversubscribed: the awaited rank may need this core, so yield soon. Otherwise a yield gives the core to other processes for a whole time
// slice, so first spin through the usual skew between ranks (some 100 us).
constexpr int few_spins = 200, many_spins = 5000;

/// Whether the node has a core for each of its ranks. Collective.
bool enough_cores(MPI_Comm node, int ranks) {
  cpu_set_t mine, all;
  if (sched_getaffinity(0, sizeof(mine), &mine) != 0) CPU_ZERO(&mine);
  check_mpi(MPI_Allreduce(&mine, &all, sizeof(mine), MPI_BYTE, MPI_BOR, node), "MPI_Allreduce");
  return CPU_COUNT(&all) >= ranks;
}

/// State shared by all groups split from one create. The abort word lies in the first group's control window.
struct Family {
  std::string directory;
  std::shared_ptr<SharedWindow> abort_window;
  std::shared_ptr<FlightRecord> flight = std::make_shared<FlightRecord>();
  int global_rank = 0;
  int spins = few_spins;  // spins before a wait yields its core
  AbortWord* abort() const { return &reinterpret_cast<ControlPart*>(abort_window->part(0))->abort; }
};

[[noreturn]] void throw_notice(const AbortWord& word) {
  const auto notice = word.read();
  throw CommunicatorAborted(notice.by_rank, notice.reason);
}

void yield_core(const Family& family) {
  if (family.abort()->version.load(std::memory_order_relaxed) != 0) throw_notice(*family.abort());
  sched_yield();
}

[[noreturn]] void throw_failure(const detail::WindowFailure& failure, const std::string& directory) {
  if (failure.code == ENOSPC || failure.code == EDQUOT)
    throw IoError(
        fmt::format("{} is too small for a shared window: need {} bytes, have {} bytes", directory, failure.need_bytes, failure.free_bytes),
        "enlarge it (mount -o remount,size=..., docker run --shm-size=...), or use another window_directory or private memory", "comm");
  throw IoError(fmt::format("cannot {} a shared window of {} bytes in {}, on rank {} of the node: {}", failure.call, failure.need_bytes,
                            directory, failure.rank, std::strerror(failure.code)),
                "ranks of one node must see the same directory; use another one, or private memory", "comm");
}

class SharedGroup final : public NodeGroup {
 public:
  SharedGroup(Family family, std::string name, int rank, int size, std::shared_ptr<SharedWindow> control)
      : family_(std::move(family)), name_(std::move(name)), control_(std::move(control)), abort_(family_.abort()) {
    rank_ = rank;
    size_ = size;
    flight_ = family_.flight;
    for (int i = 0; i < size; i++) parts_.push_back(reinterpret_cast<ControlPart*>(control_->part(i)));
  }

  void barrier() override { exchange_stamps({}, {}); }

  void exchange_bytes(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (mine.size() > max_bytes || all.size() != mine.size() * static_cast<size_t>(size_))
      throw UsageError("comm", fmt::format("exchange of {} bytes into {} by {} ranks", mine.size(), all.size(), size_),
                       fmt::format("pass at most {} bytes, and a result buffer of that size for each rank", max_bytes));
    exchange_stamps(mine, all);
  }

  void pause(int turns) override {
    if (aborted()) throw_aborted();
    if (turns < (idle_ ? few_spins : family_.spins))
      relax();
    else if (idle_)
      idle_();
    else
      sched_yield();
  }

  std::shared_ptr<SharedWindow> allocate(size_t bytes, OnNoSpace on_no_space) override {
    const double mine = static_cast<double>(bytes);  // exact: below 2^53
    std::vector<double> all(static_cast<size_t>(size_));
    exchange({&mine, 1}, all);
    if (size_ == 1) return detail::private_window(bytes);
    detail::WindowFailure failure;
    detail::WindowRequest request{fmt::format("{}/{}-{}", family_.directory, name_, number_++), {all.begin(), all.end()}, rank_};
    auto window = detail::map_window(
        request, [this](int code) { return gather_errno(code); }, failure);
    if (!window && on_no_space == OnNoSpace::fail) throw_failure(failure, family_.directory);
    return window;
  }

  std::shared_ptr<SharedBufferPool> allocate_buffer_pool(const std::vector<size_t>& bytes, OnNoSpace on_no_space) override {
    if (size_ == 1) return detail::private_buffer_pool(bytes);
    detail::WindowFailure failure;
    detail::WindowRequest request{fmt::format("{}/{}-{}", family_.directory, name_, number_++), bytes, rank_};
    auto memory = detail::map_buffer_pool(
        request, [this](int code) { return gather_errno(code); }, [family = family_] { yield_core(family); }, failure);
    if (!memory && on_no_space == OnNoSpace::fail) throw_failure(failure, family_.directory);
    return memory;
  }

  std::unique_ptr<NodeGroup> split(int color, int key) override {
    const double mine[] = {static_cast<double>(color), static_cast<double>(key)};
    std::vector<double> all(2 * static_cast<size_t>(size_));
    exchange(mine, all);
    std::vector<int> members;
    for (int i = 0; i < size_; i++)
      if (all[2 * static_cast<size_t>(i)] == mine[0]) members.push_back(i);
    std::stable_sort(members.begin(), members.end(),
                     [&](int a, int b) { return all[2 * static_cast<size_t>(a) + 1] < all[2 * static_cast<size_t>(b) + 1]; });
    const auto index = std::find(members.begin(), members.end(), rank_) - members.begin();

    if (size_ == 1) return std::make_unique<SharedGroup>(family_, name_, 0, 1, detail::private_window(sizeof(ControlPart)));
    const std::string name = fmt::format("{}-{}c{}", name_, number_++, color);
    detail::WindowRequest request{fmt::format("{}/{}", family_.directory, name), std::vector(members.size(), sizeof(ControlPart)),
                                  static_cast<int>(index)};
    // All groups of the split are created in lockstep, so that a failure of one is a failure of all.
    detail::WindowFailure failure;
    auto control = detail::map_window(
        request, [this](int code) { return gather_errno(code); }, failure);
    if (!control) throw_failure(failure, family_.directory);
    return std::make_unique<SharedGroup>(family_, name, static_cast<int>(index), static_cast<int>(members.size()), std::move(control));
  }

  bool abort(std::string_view reason) noexcept override { return abort_->write(0, family_.global_rank, reason); }
  bool aborted() const noexcept override { return abort_->version.load(std::memory_order_relaxed) != 0; }
  bool aborted_by_this_rank() const noexcept override { return aborted() && abort_->by_rank == family_.global_rank; }
  void abort_for(const AbortNotice& notice) noexcept override {
    for (int tries = 0; tries < 10000; tries++) {
      const int version = abort_->version.load(std::memory_order_acquire);
      if (version != 0 && version % 2 == 0 && abort_->by_rank <= notice.by_rank) return;
      if (version % 2 == 0 && abort_->write(version, notice.by_rank, notice.reason)) return;
      sched_yield();
    }
  }
  AbortNotice abort_notice() const override { return abort_->read(); }

 private:
  /// Barrier with payload: raise this rank's flag, wait for the flags of the others.
  void exchange_stamps(std::span<const std::byte> mine, std::span<std::byte> all) {
    if (aborted()) throw_aborted();
    const uint64_t stamp = ++epoch_ << 8 | mine.size();
    Slot& slot = parts_[static_cast<size_t>(rank_)]->slots[epoch_ & 1];
    std::copy(mine.begin(), mine.end(), slot.bytes);
    slot.stamp.store(stamp, std::memory_order_release);
    int mismatched_rank = -1;
    for (int i = 0; i < size_; i++) {
      const Slot& other = parts_[static_cast<size_t>(i)]->slots[epoch_ & 1];
      if (wait(other) != stamp) mismatched_rank = i;
      std::copy_n(other.bytes, mine.size(), all.begin() + static_cast<std::ptrdiff_t>(mine.size()) * i);
    }
    if (mismatched_rank >= 0) throw_mismatch(mismatched_rank, mine.size());
  }

  uint64_t wait(const Slot& slot) {
    if (const uint64_t stamp = slot.stamp.load(std::memory_order_acquire); stamp >> 8 >= epoch_) return stamp;
    const WaitTimer timer;
    for (int turns = 0;; turns++) {
      const uint64_t stamp = slot.stamp.load(std::memory_order_acquire);
      if (stamp >> 8 >= epoch_) return stamp;
      pause(turns);
    }
  }

  [[noreturn]] void throw_aborted() const { throw_notice(*abort_); }

  [[noreturn]] void throw_mismatch(int other, size_t mine) const {
    const size_t given = parts_[static_cast<size_t>(other)]->slots[epoch_ & 1].stamp.load() & 255;
    const auto words = [](size_t bytes) { return bytes == 0 ? std::string("is in a barrier") : fmt::format("exchanges {} bytes", bytes); };
    throw CommunicatorError(fmt::format("the ranks of the node disagree: rank {} {}, rank {} {}", rank_, words(mine), other, words(given)),
                            "make the same calls in the same order on all ranks");
  }

  std::vector<int> gather_errno(int code) {
    const double mine = code;
    std::vector<double> all(static_cast<size_t>(size_));
    exchange({&mine, 1}, all);
    return {all.begin(), all.end()};
  }

  Family family_;
  std::string name_;
  std::shared_ptr<SharedWindow> control_;
  AbortWord* abort_;
  std::vector<ControlPart*> parts_;
  uint64_t epoch_ = 0;
  int number_ = 0;  // number of windows and groups so far, used in file names
};

struct CommunicatorHandle {
  MPI_Comm value = MPI_COMM_NULL;
  ~CommunicatorHandle() {
    if (value != MPI_COMM_NULL) MPI_Comm_free(&value);
  }
};

}  // namespace

std::unique_ptr<NodeGroup> NodeGroup::create(MPI_Comm communicator, const std::string& directory) {
  Family family;
  family.directory = directory;
  CommunicatorHandle node;
  int rank = 0, size = 1;
  check_mpi(MPI_Comm_rank(communicator, &family.global_rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_split_type(communicator, MPI_COMM_TYPE_SHARED, family.global_rank, MPI_INFO_NULL, &node.value), "MPI_Comm_split_type");
  check_mpi(MPI_Comm_rank(node.value, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(node.value, &size), "MPI_Comm_size");
  if (size == 1) {
    family.abort_window = detail::private_window(sizeof(ControlPart));
    return std::make_unique<SharedGroup>(family, "", 0, 1, family.abort_window);
  }
  if (enough_cores(node.value, size)) family.spins = many_spins;
  uint64_t nonce[2] = {std::random_device{}() | uint64_t{std::random_device{}()} << 32, static_cast<uint64_t>(getpid())};
  check_mpi(MPI_Bcast(nonce, 2, MPI_UINT64_T, 0, node.value), "MPI_Bcast");
  const std::string name = fmt::format("levin-{}-{:016x}", nonce[1], nonce[0]);
  detail::WindowRequest request{fmt::format("{}/{}", directory, name), std::vector(static_cast<size_t>(size), sizeof(ControlPart)), rank};
  detail::WindowFailure failure;
  family.abort_window = detail::map_window(
      request,
      [&](int code) {
        std::vector<int> codes(static_cast<size_t>(size));
        check_mpi(MPI_Allgather(&code, 1, MPI_INT, codes.data(), 1, MPI_INT, node.value), "MPI_Allgather");
        return codes;
      },
      failure);
  if (!family.abort_window) throw_failure(failure, directory);
  return std::make_unique<SharedGroup>(family, name, rank, size, family.abort_window);
}

}  // namespace levin
