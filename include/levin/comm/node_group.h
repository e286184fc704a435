#pragma once
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "levin/comm/flight_record.h"

namespace levin {

class SharedBufferPool;

/// Memory shared by all ranks of a node: one part per rank, zero-filled, first touched by its owner, page-aligned.
class SharedWindow {
 public:
  virtual ~SharedWindow() = default;
  /// Address of a rank's part in this process.
  std::byte* part(int rank) const { return parts_[static_cast<size_t>(rank)]; }
  size_t part_bytes(int rank) const { return bytes_[static_cast<size_t>(rank)]; }

 protected:
  std::vector<std::byte*> parts_;
  std::vector<size_t> bytes_;
};

/// The rank that ended the job, in the numbering of create's communicator, and its reason.
struct AbortNotice {
  int by_rank = -1;  ///< -1: none
  std::string reason;
};

/// The behaviour of allocate without enough shared memory.
enum class OnNoSpace { fail, return_null };

/// The ranks of one node, which share memory: windows, a barrier, small exchanges, and an abort word that every wait polls. Only create
/// uses MPI, everything else shared memory. All members except abort and the destructors are collective unless marked otherwise. One
/// thread at a time may use a group; split one off for each further thread.
class NodeGroup {
 public:
  /// Creates the group of the ranks that share memory with this rank. Collective over `communicator`, which may be freed afterwards.
  /// Windows are files in `directory`, unlinked before allocate returns.
  static std::unique_ptr<NodeGroup> create(MPI_Comm communicator, const std::string& directory = "/dev/shm");
  virtual ~NodeGroup() = default;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  /// A window with a part of `bytes` for this rank; sizes may differ between ranks. Every rank reserves its part. If one fails: IoError
  /// with path, needed and free bytes and remedy on all ranks, or null. The window may outlive the group; dropping it is local.
  virtual std::shared_ptr<SharedWindow> allocate(size_t bytes, OnNoSpace on_no_space = OnNoSpace::fail) = 0;

  /// A pool of shared buffers of these sizes, the same on all ranks. Reserves space for two buffers of the largest size; errors as in
  /// allocate.
  virtual std::shared_ptr<SharedBufferPool> allocate_buffer_pool(const std::vector<size_t>& bytes,
                                                                 OnNoSpace on_no_space = OnNoSpace::fail) = 0;

  virtual void barrier() = 0;
  static constexpr size_t max_bytes = 120, max_values = max_bytes / sizeof(double);
  /// All-gather of at most max_bytes per rank, the same number on all ranks, in rank order: `all` has size() * mine.size() bytes. Costs one
  /// barrier; up to 56 bytes travel in the cache line of the flag. CommunicatorError if the ranks pass different numbers of bytes, or one
  /// is in a barrier.
  virtual void exchange_bytes(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  void exchange(std::span<const double> mine, std::span<double> all) { exchange_bytes(std::as_bytes(mine), std::as_writable_bytes(all)); }
  /// The same for a trivially copyable struct: `all` has size() elements.
  template <class T>
  void exchange_structs(const T& mine, std::span<T> all) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= max_bytes);
    exchange_bytes(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(all));
  }

  /// One iteration of a wait for a flag in a window: spins, yields the core or calls on_idle, as barrier() does. `turns` counts the
  /// iterations from 0. Throws CommunicatorAborted after an abort. Not collective.
  virtual void pause(int turns) = 0;

  /// A separate group of the ranks with equal color, ordered by (key, rank); it may outlive this one.
  virtual std::unique_ptr<NodeGroup> split(int color, int key) = 0;

  /// Makes every present and future wait of all ranks, in this group and in all groups split from the same create, throw
  /// CommunicatorAborted with the reason and this rank (in the numbering of create's communicator). The first caller wins, and gets true.
  /// Async-signal-safe.
  virtual bool abort(std::string_view reason) noexcept = 0;
  virtual bool aborted() const noexcept = 0;
  /// Whether this rank won. Async-signal-safe.
  virtual bool aborted_by_this_rank() const noexcept = 0;
  /// abort on behalf of a rank of another node. If ranks of two nodes each won on their node, the lower rank wins in the end.
  virtual void abort_for(const AbortNotice& notice) noexcept = 0;
  virtual AbortNotice abort_notice() const = 0;

  /// Where this rank stands; common to all groups split from the same create. Not collective.
  FlightRecord& flight() const noexcept { return *flight_; }

  /// Sets a function that long waits call repeatedly instead of yielding the core; it may throw.
  void on_idle(std::function<void()> idle) { idle_ = std::move(idle); }

 protected:
  std::function<void()> idle_;
  std::shared_ptr<FlightRecord> flight_ = std::make_shared<FlightRecord>();
  int rank_ = 0, size_ = 1;
};

}  // namespace levin
