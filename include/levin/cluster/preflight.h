#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "levin/cluster/batch_job.h"
#include "levin/comm/host_values.h"
#include "levin/comm/same_on_all_ranks.h"
#include "levin/core/environment.h"

// Checks before the first step. Each is collective and has the same result on all ranks: none waits for a rank that failed.

namespace levin {

class MpiRuntime;
class Topology;

/// Adds the program and Levin (hashes of the files, one rank of each host reads them) and the versions of LibTorch, MPI, HDF5 and, where
/// it is loaded, NCCL, for check_same_on_all_ranks. Collective.
void add_program_identity(const MpiRuntime& runtime, RankStatus& status);

/// Rank 0 writes a small file into an existing directory; the first rank of each other host opens it for writing and reads it; rank 0
/// removes it. IoError, on all ranks, that names the hosts where this fails. `name` of the directory in the message: "the run directory".
/// Collective. Waits up to 2 s for a file that does not appear.
void check_shared_directory(const MpiRuntime& runtime, const Topology& topology, const std::filesystem::path& directory,
                            std::string_view name, std::string_view remedy);

/// The checkpoints that a training will write to a folder, which exists.
struct PlannedCheckpoints {
  std::filesystem::path folder;
  int64_t bytes = 0;  ///< of one
  int64_t keep = 0;   ///< that retention keeps; -1: all
  int64_t found = 0;  ///< that the folder has already
};
/// Rank 0 compares the free space of each file system with what the checkpoints need: those that are kept and do not exist yet, and one
/// more, since a checkpoint is removed after the next one is complete. Returns a warning, on all ranks, if that is more than is free;
/// empty: there is enough, or the file system does not say. IoError, on all ranks, if not even one of each folder fits. Collective.
std::string check_checkpoint_space(ValueRanks ranks, const std::vector<PlannedCheckpoints>& planned);
/// The same for one file system, given its free bytes. Local.
std::string compare_checkpoint_space(const std::vector<PlannedCheckpoints>& planned, int64_t free_bytes);

/// A warning if a batch job's run directory is below $HOME, which is small, slow or read-only on many clusters. Empty: it is not. Local.
std::string home_warning(const std::filesystem::path& directory, const BatchJob& job, const GetVariable& get_variable);

/// Version of the NCCL library that this process has loaded: "2.27.3"; empty: none.
std::string loaded_nccl_version();
/// "1.10.8", of the library that runs.
std::string hdf5_version();

}  // namespace levin
