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

namespace levin {

class SharedBufferPool;

/// Memory that all ranks of a node see: one part a rank, each zero-filled and first touched by its owner, aligned to a page.
class SharedWindow {
 public:
  virtual ~SharedWindow() = default;
  /// Start of a rank's part, in this process.
  std::byte* part(int rank) const { return parts_[static_cast<size_t>(rank)]; }
  size_t part_bytes(int rank) const { return bytes_[static_cast<size_t>(rank)]; }

 protected:
  std::vector<std::byte*> parts_;
  std::vector<size_t> bytes_;
};

/// Who ended the job, by its number in create's communicator, and why.
struct AbortNotice {
  int by_rank = -1;  ///< -1: none
  std::string reason;
};

/// The behaviour of allocate if shared memory is too small.
enum class OnNoSpace { fail, return_null };

/// The ranks of one node, which share memory: windows, a barrier, small exchanges, and an abort word that every wait polls. Only create
/// uses MPI; the rest goes through shared memory. All but abort and the destructors are collective. One thread at a time may be in a
/// group; a thread that needs its own splits one off.
class NodeGroup {
 public:
  /// Splits off the ranks that share memory with this one. Collective over `communicator`, which is not needed afterwards. Windows are
  /// files in `directory`, unlinked before anybody gets them.
  static std::unique_ptr<NodeGroup> create(MPI_Comm communicator, const std::string& directory = "/dev/shm");
  virtual ~NodeGroup() = default;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  /// A window with `bytes` of this rank's own; ranks may ask for different sizes. Every rank reserves its part, and all agree that this
  /// went well; else IoError with path, need, have and remedy on all ranks, or null. The window outlives the group, and a rank may drop
  /// it when it likes.
  virtual std::shared_ptr<SharedWindow> allocate(size_t bytes, OnNoSpace on_no_space = OnNoSpace::fail) = 0;

  /// A pool of shared buffers of these sizes, the same on all ranks. Reserves room for the two largest; errors as of allocate.
  virtual std::shared_ptr<SharedBufferPool> allocate_buffer_pool(const std::vector<size_t>& bytes,
                                                                 OnNoSpace on_no_space = OnNoSpace::fail) = 0;

  virtual void barrier() = 0;
  static constexpr size_t max_bytes = 120, max_values = max_bytes / sizeof(double);
  /// Every rank gives the same number of bytes (at most max_bytes) and gets all ranks' in rank order: `all` has size() * mine.size()
  /// places. One barrier; up to 56 bytes travel in the flag's own cache line. CommunicatorError when the ranks give different numbers of
  /// bytes, or one is in a barrier.
  virtual void exchange_bytes(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  void exchange(std::span<const double> mine, std::span<double> all) { exchange_bytes(std::as_bytes(mine), std::as_writable_bytes(all)); }
  /// The same for a plain struct: `all` has size() places.
  template <class T>
  void exchange_structs(const T& mine, std::span<T> all) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= max_bytes);
    exchange_bytes(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(all));
  }

  /// One turn of a wait for a flag in a window: spins, yields the core or calls on_idle, as the barrier's own wait does. `turns` counts
  /// from 0. Throws CommunicatorAborted after an abort. Not collective.
  virtual void pause(int turns) = 0;

  /// The ranks of equal color, ordered by (key, rank), as a separate group, which may outlive this one.
  virtual std::unique_ptr<NodeGroup> split(int color, int key) = 0;

  /// Ends every present and future wait of all ranks, in this group and in all that were split from the same one, with
  /// CommunicatorAborted, which names this rank (by its number in create's communicator) and the reason. The first caller is the one
  /// that is named, and gets true. May be called in a signal handler.
  virtual bool abort(std::string_view reason) noexcept = 0;
  virtual bool aborted() const noexcept = 0;
  /// Whether this rank is named; for signal handlers, too.
  virtual bool aborted_by_this_rank() const noexcept = 0;
  /// The same on behalf of a rank of another node. Where two ranks were first on their nodes, the lower one is named in the end.
  virtual void abort_for(const AbortNotice& notice) noexcept = 0;
  virtual AbortNotice abort_notice() const = 0;

  /// Called again and again in a wait that lasts, in place of yielding the core; may throw.
  void on_idle(std::function<void()> idle) { idle_ = std::move(idle); }

 protected:
  std::function<void()> idle_;
  int rank_ = 0, size_ = 1;
};

}  // namespace levin
