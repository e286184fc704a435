#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "levin/comm/mpi_runtime.h"
#include "levin/comm/topology.h"

namespace levin {

/// The libraries that a rank has loaded, as numbers in their own notation; 0: not loaded. Plain integers: they travel over MPI.
struct CudaVersions {
  int nccl = 0, runtime = 0, driver = 0, cudnn = 0;
  bool operator==(const CudaVersions&) const = default;
};
CudaVersions loaded_versions();

/// Why ranks with these versions (by rank) cannot work together, or empty: different versions of NCCL, or a library that is older than the
/// headers that Levin was compiled with.
std::string version_error(const std::vector<CudaVersions>& versions, const std::vector<std::string>& rank_names);
/// Differences between ranks with which they work together, but may compute other bits or at another speed; and ranks with few cores.
std::vector<std::string> version_warnings(const std::vector<CudaVersions>& versions, const std::vector<std::string>& rank_names);
std::vector<std::string> core_warnings(const Topology& topology, const std::vector<std::string>& rank_names);
/// A warning where the loaded cuDNN is another one than that of LibTorch's wheel, whose directory is beside `torch_libraries`; else empty.
std::string cudnn_warning(const std::filesystem::path& loaded, const std::filesystem::path& torch_libraries);

/// ConfigError on all ranks where version_error has one. Rank 0 logs the warnings. Collective.
void check_versions(const MpiRuntime& runtime, const Topology& topology, const std::vector<std::string>& rank_names);

}  // namespace levin
