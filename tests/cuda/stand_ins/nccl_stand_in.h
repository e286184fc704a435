#pragma once
// What tests set and see of the stand-in for libnccl: this process's part. Calls are those that put work on a stream, counted from reset.
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace stand_in {

struct NcclSettings {
  std::atomic<int> slots = 8;           ///< collectives that the device runs at a time
  std::atomic<int> late_kind = -1;      ///< collectives of this Call::Kind ask for a slot 2 ms late: a device starts kernels that are ready
                                        ///< in any order
  std::atomic<int> delay_us = 0;        ///< of the host in every call: random, up to this
  std::atomic<int> fail_at = 0;         ///< call n returns an error; 0: none
  std::atomic<int> async_error_at = 0;  ///< call n sets an asynchronous error, and its kernel ends by an abort only
  std::atomic<int> hang_at = 0;         ///< the kernel of call n ends by an abort only
  std::atomic<bool> hang_in_init = false, hang_in_finalize = false, fail_in_finalize = false;
  std::atomic<bool> connect_at_first_call = false;  ///< a communicator's first call waits on the host for the other ranks' first call
  std::atomic<bool> compare_calls = true;           ///< else ranks that disagree get wrong data without a word, as from NCCL
  std::atomic<int> version = 0;                     ///< that the library reports; 0: its header's
  std::atomic<bool> without_memory = false, without_registration = false, without_windows = false;
};

struct NcclFindings {
  std::atomic<int> calls = 0;
  // Faults of the caller.
  std::atomic<int> mismatches = 0;           ///< ranks in different calls
  std::atomic<int> mixed_registrations = 0;  ///< a buffer that some ranks have registered
  std::atomic<int> unequal_offsets = 0;      ///< in symmetric windows
  std::atomic<int> freed_in_use = 0;         ///< memory of a kernel that had not ended, or that was registered
  std::atomic<int> used_after_abort = 0;
  std::atomic<int> not_finalized = 0;   ///< communicators that were destroyed and neither finalized nor aborted
  std::atomic<int> unsafe_aborts = 0;   ///< while a call of another thread set up or took down the communicator
  std::atomic<int> busy_splits = 0;     ///< of communicators with outstanding operations
  std::atomic<int> parallel_calls = 0;  ///< of several threads, on communicators that share resources
  // What was asked for.
  std::atomic<int> aborts = 0, destroyed = 0, shared_splits = 0, registrations = 0, deregistrations = 0, windows = 0, unique_ids = 0;
  std::atomic<int> registered_calls = 0;  ///< calls all of whose buffers were registered
};

NcclSettings& nccl_settings();
NcclFindings& nccl_findings();
/// The names of the communicators made so far.
std::vector<std::string> communicator_names();
/// Settings and findings as at the start.
void reset();

}  // namespace stand_in
