#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <memory>
#include <string>

#include "meeting.h"
#include "registry.h"

namespace stand_in {

/// What communicators share that are split from each other.
struct Family {
  std::atomic<bool> aborted = false;  ///< ends the kernels of all
  std::atomic<int> calls = 0;         ///< in progress
};

}  // namespace stand_in

/// A communicator. It is never freed, so that a call after an abort is found.
struct ncclComm {
  ncclComm(std::string file_path, int own_rank, int ranks, const ncclConfig_t* config)
      : path(std::move(file_path)), rank(own_rank), size(ranks), shares_resources(config && config->splitShare == 1) {}

  const std::string path;
  const int rank, size;
  const bool shares_resources;  // with the communicators that are split from it
  std::atomic<bool> aborted = false, closed = false;
  std::shared_ptr<stand_in::Family> family = std::make_shared<stand_in::Family>();
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

/// A call, of which a family takes one at a time.
class CallInProgress {
 public:
  explicit CallInProgress(ncclComm* comm);
  ~CallInProgress() { family_->calls--; }
  CallInProgress(const CallInProgress&) = delete;
  CallInProgress& operator=(const CallInProgress&) = delete;

 private:
  std::shared_ptr<Family> family_;
};

/// An error for a communicator that cannot be used.
ncclResult_t usable(ncclComm* comm);
/// Whether a communicator of this process has the memory registered.
bool is_registered(const void* data, size_t bytes);
/// Waits for a slot of the device; false after an abort.
bool take_slot(const std::atomic<bool>& aborted);
void return_slot();

}  // namespace stand_in
