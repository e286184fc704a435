#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/comm/node_group.h"

namespace levin::detail {

/// Gives this rank's errno (0: went well) to all ranks and returns all of them in rank order: a barrier.
using GatherErrno = std::function<std::vector<int>(int)>;

struct WindowRequest {
  std::string path;           ///< of the file behind the window; no file is left there
  std::vector<size_t> bytes;  ///< of every rank's part
  int rank = 0;
};

/// What went wrong on the first rank that failed.
struct WindowFailure {
  int rank = -1;
  int code = 0;      ///< errno
  std::string call;  ///< the call that failed
  size_t need_bytes = 0;
  size_t free_bytes = 0;  ///< on the file system, before the request; seen by rank 0 of the request
};

/// Maps a new zero-filled file of all ranks' parts; null, with the failure, when any rank could not. Collective.
///
/// Files of our own, not MPI_Win_allocate_shared. MPI's window is a file that is only truncated to its size: where the file system is
/// short (64 MB of /dev/shm in many containers) the first write dies with SIGBUS, and no look at the free space before helps when
/// others take it meanwhile. Here every rank reserves its part by fallocate, which allocates the pages (on the caller's NUMA domain) or
/// returns ENOSPC. MPI_Win_free is collective, too, and would hang when ranks unwind an exception in different orders; munmap is local.
std::shared_ptr<SharedWindow> map_window(const WindowRequest& request, const GatherErrno& gather_errno, WindowFailure& failure);

/// The window of a group of one rank: plain memory.
std::shared_ptr<SharedWindow> private_window(size_t bytes);

}  // namespace levin::detail
