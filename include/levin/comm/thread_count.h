#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/environment.h"

namespace levin {

class Topology;

/// The number of compute threads of a rank, and the reason for it: "OMP_NUM_THREADS=2".
struct ThreadCount {
  int64_t threads;
  std::string reason;
};

/// OMP_NUM_THREADS, or the first number of a list (one per nesting level). nullopt if it is unset or empty. ConfigError if it is not a
/// positive integer.
std::optional<int64_t> threads_of_environment(const GetVariable& get_variable);

/// `configured` if positive, else OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, but no more than this rank has cores (Slurm may count hardware
/// threads), else this rank's share of its cores: ranks bound to the same cores of a host divide them.
ThreadCount choose_threads(int64_t configured, const Topology& topology, const GetVariable& get_variable);

}  // namespace levin
