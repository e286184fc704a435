#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/environment.h"

namespace levin {

class Topology;

/// How many threads a rank computes with, and what decided it: "OMP_NUM_THREADS=2".
struct ThreadCount {
  int64_t threads;
  std::string reason;
};

/// OMP_NUM_THREADS; of a list, one number for each level of nesting, the first. Nothing where it is unset or empty. ConfigError where it is
/// not a positive integer.
std::optional<int64_t> threads_of_environment(const GetVariable& get_variable);

/// `configured` where it is positive, else OMP_NUM_THREADS, else this rank's share of its cores: ranks of a host that may run on the same
/// cores divide them.
ThreadCount choose_threads(int64_t configured, const Topology& topology, const GetVariable& get_variable);

}  // namespace levin
