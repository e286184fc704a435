#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <memory>
#include <string>

#include "meeting.h"
#include "registry.h"

/// A communicator. It is never freed, so that a call after an abort is found.
struct ncclComm {
  ncclComm(std::string file_path, int own_rank, int ranks, const ncclConfig_t* config)
      : path(std::move(file_path)), rank(own_rank), size(ranks), shares_resources(config && config->splitShare == 1) {}

  const std::string path;
  const int rank, size;
  const bool shares_resources;  // with the communicators that are split from it
  std::atomic<bool> aborted = false, closed = false;
  // Ends the kernels of all communicators that share it.
  std::shared_ptr<std::atomic<bool>> abort_flag = std::make_shared<std::atomic<bool>>(false);
  std::atomic<int> error = ncclSuccess, in_flight = 0, in_management = 0;
  std::atomic<uint64_t> collectives = 0;
  uint64_t sent[stand_in::most_ranks] = {}, received[stand_in::most_ranks] = {};
  int splits = 0;
  bool finalized = false, connected = false;
  std::unique_ptr<stand_in::Meeting> meeting;
  stand_in::Registry registry;
};

namespace stand_in {

/// A call that sets up, takes down or changes a communicator; no other thread may abort it meanwhile.
class Management {
 public:
  explicit Management(ncclComm* comm) : comm_(comm) { comm_->in_management++; }
  ~Management() { comm_->in_management--; }
  Management(const Management&) = delete;
  Management& operator=(const Management&) = delete;

 private:
  ncclComm* comm_;
};

/// An error for a communicator that cannot be used.
ncclResult_t usable(ncclComm* comm);
/// Whether a communicator of this process has the memory registered.
bool is_registered(const void* data, size_t bytes);
/// Waits for a slot of the device; false after an abort.
bool take_slot(const std::atomic<bool>& aborted);
void return_slot();

}  // namespace stand_in
