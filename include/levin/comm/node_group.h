#pragma once
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace levin {

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

/// What allocate does where shared memory is too small.
enum class WhenShort { fail, return_null };

/// The ranks of one node, which share memory: windows, a barrier, small exchanges, and an abort word that every wait polls. None of the
/// calls but the constructor, allocate and the destructors use MPI. All but abort are collective.
class NodeGroup {
 public:
  /// Splits off the ranks that share memory with this one. Collective over `communicator`, which must outlive the group.
  static std::unique_ptr<NodeGroup> create(MPI_Comm communicator);
  virtual ~NodeGroup() = default;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  /// A window with `bytes` of this rank's own; ranks may ask for different sizes. The ranks first agree that the file system behind it
  /// has room and reserve it; else IoError with path, need, have and remedy on all ranks, or null.
  virtual std::shared_ptr<SharedWindow> allocate(size_t bytes, WhenShort when_short = WhenShort::fail) = 0;

  virtual void barrier() = 0;
  /// Every rank gives the same number of values (at most 16) and gets all ranks' values in rank order: `all` has size() * mine.size()
  /// places. One barrier; costs about a microsecond.
  virtual void exchange(std::span<const double> mine, std::span<double> all) = 0;

  /// Ends every present and future wait of all ranks with CommunicatorAborted, which names this rank and the reason. The first caller
  /// is the one that is named.
  virtual void abort(const std::string& reason) noexcept = 0;
  virtual bool aborted() const noexcept = 0;

 protected:
  int rank_ = 0, size_ = 1;
};

}  // namespace levin
