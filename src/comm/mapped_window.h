#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/comm/node_group.h"

namespace levin::detail {

/// All-gathers errno values (0: success) in rank order; a barrier.
using GatherErrno = std::function<std::vector<int>(int)>;

struct WindowRequest {
  std::string path;           ///< path of the backing file, which is unlinked
  std::vector<size_t> bytes;  ///< size of each rank's part
  int rank = 0;
};

/// The failure of the lowest rank that failed.
struct WindowFailure {
  int rank = -1;
  int code = 0;      ///< errno
  std::string call;  ///< the call that failed
  size_t need_bytes = 0;
  size_t free_bytes = 0;  ///< free space of the file system before the request, as seen by rank 0
};

/// Maps a new zero-filled file with the parts of all ranks; null, with the failure, if any rank fails. Collective.
///
/// Why not MPI_Win_allocate_shared: its backing file is truncated to size without allocating pages. On a small file system (64 MB of
/// /dev/shm in many containers) the first write raises SIGBUS, and checking the free space first races with other processes. Here every
/// rank reserves its part by fallocate, which allocates the pages (on the caller's NUMA domain) or returns ENOSPC. MPI_Win_free is
/// collective and would hang if ranks unwind an exception in different orders; munmap is local.
std::shared_ptr<SharedWindow> map_window(const WindowRequest& request, const GatherErrno& gather_errno, WindowFailure& failure);

/// The window of a group of one rank: private memory.
std::shared_ptr<SharedWindow> private_window(size_t bytes);

}  // namespace levin::detail
