#include "versions.h"

#include <ATen/Context.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <mpi.h>
#include <nccl.h>

#include <algorithm>

#include "check.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"

namespace levin {
namespace {

constexpr int cores_of_a_gpu_rank = 4;  // the training thread, autograd's, a data loader, and those that watch

std::string nccl_text(int version) { return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100); }
std::string cuda_text(int version) { return fmt::format("{}.{}", version / 1000, version / 10 % 100); }
std::string cudnn_text(int version) {
  return version == 0 ? std::string("none") : fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::filesystem::path library_of(const void* address) {
  Dl_info info{};
  return dladdr(address, &info) != 0 && info.dli_fname ? std::filesystem::path(info.dli_fname) : std::filesystem::path();
}

// Of the cuDNN that LibTorch has loaded; Levin is not linked to it.
void* cudnn_function(const char* name) {
  void* library = dlopen("libcudnn.so.9", RTLD_LAZY | RTLD_NOLOAD);
  void* function = library ? dlsym(library, name) : nullptr;
  if (library) dlclose(library);  // the reference of RTLD_NOLOAD
  return function;
}

}  // namespace

CudaVersions loaded_versions() {
  CudaVersions versions;
  check_nccl(ncclGetVersion(&versions.nccl), "ncclGetVersion");
  check_cuda(cudaRuntimeGetVersion(&versions.runtime), "cudaRuntimeGetVersion");
  check_cuda(cudaDriverGetVersion(&versions.driver), "cudaDriverGetVersion");
  if (auto* version = reinterpret_cast<size_t (*)()>(cudnn_function("cudnnGetVersion"))) versions.cudnn = static_cast<int>(version());
  return versions;
}

std::string version_error(const std::vector<CudaVersions>& versions, const std::vector<std::string>& rank_names) {
  for (size_t rank = 0; rank < versions.size(); rank++) {
    const auto& [nccl, runtime, driver, cudnn] = versions[rank];
    if (nccl != versions.front().nccl)
      return fmt::format("{} has NCCL {}, {} NCCL {}", rank_names.front(), nccl_text(versions.front().nccl), rank_names[rank],
                         nccl_text(nccl));
    if (nccl < NCCL_VERSION_CODE)
      return fmt::format("{} has NCCL {}, older than the {} that Levin was compiled with", rank_names[rank], nccl_text(nccl),
                         nccl_text(NCCL_VERSION_CODE));
    if (runtime / 1000 != CUDART_VERSION / 1000)
      return fmt::format("{} has the CUDA runtime {}, and Levin was compiled with {}", rank_names[rank], cuda_text(runtime),
                         cuda_text(CUDART_VERSION));
  }
  return "";
}

std::vector<std::string> version_warnings(const std::vector<CudaVersions>& versions, const std::vector<std::string>& rank_names) {
  std::vector<std::string> warnings;
  const auto compare = [&](const char* library, int CudaVersions::*member, std::string (*text)(int), const char* effect) {
    const auto other =
        std::find_if(versions.begin(), versions.end(), [&](const auto& rank) { return rank.*member != versions.front().*member; });
    if (other == versions.end()) return;
    warnings.push_back(fmt::format("[cuda] {} has {} {}, {} {}: {}", rank_names.front(), library, text(versions.front().*member),
                                   rank_names[static_cast<size_t>(other - versions.begin())], text((*other).*member), effect));
  };
  compare("the CUDA runtime", &CudaVersions::runtime, cuda_text, "ranks may compute other bits");
  compare("a driver for CUDA", &CudaVersions::driver, cuda_text, "the hosts may differ in speed");
  compare("cuDNN", &CudaVersions::cudnn, cudnn_text, "ranks may compute other bits, and at another speed");
  return warnings;
}

// Ranks that are not bound to cores share those of their host.
std::vector<std::string> core_warnings(const Topology& topology, const std::vector<std::string>& rank_names) {
  const auto& locations = topology.locations();
  size_t least = 0;
  double cores = cores_of_a_gpu_rank;
  for (size_t rank = 0; rank < locations.size(); rank++) {
    const auto& self = locations[rank];
    const auto sharing = std::count_if(locations.begin(), locations.end(),
                                       [&](const auto& other) { return other.host == self.host && other.cores == self.cores; });
    const double share = static_cast<double>(self.cores.size()) / static_cast<double>(sharing);
    if (self.cores.empty() || share >= cores) continue;
    cores = share, least = rank;
  }
  if (cores >= cores_of_a_gpu_rank) return {};
  return {
      fmt::format("[cuda] cores for {}: {:g}, fewer than the {} that a rank with a GPU needs, so the GPU may wait: bind ranks to more "
                  "cores (mpirun --map-by, srun --cpus-per-task)",
                  rank_names[least], cores, cores_of_a_gpu_rank)};
}

std::string cudnn_warning(const std::filesystem::path& loaded, const std::filesystem::path& torch_libraries) {
  std::error_code unseen;
  const auto wheel = torch_libraries / "../../nvidia/cudnn/lib";
  const auto expected = std::filesystem::canonical(wheel, unseen);
  if (loaded.empty() || unseen) return "";  // no cuDNN, or LibTorch came without
  const auto actual = std::filesystem::weakly_canonical(loaded, unseen).parent_path();
  if (unseen || actual == expected) return "";
  return fmt::format(
      "[cuda] cuDNN is loaded from {}, not from LibTorch's {}, which may make attention half as fast: put that first in "
      "LD_LIBRARY_PATH, or remove the other",
      actual.string(), expected.string());
}

void check_versions(const MpiRuntime& runtime, const Topology& topology, const std::vector<std::string>& rank_names) {
  const auto mine = on_all_ranks(runtime.communicator(), "cuda", [] { return loaded_versions(); });
  std::vector<CudaVersions> all(static_cast<size_t>(runtime.size()));
  check_mpi(MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, all.data(), sizeof(mine), MPI_BYTE, runtime.communicator()), "MPI_Allgather");
  if (const auto error = version_error(all, rank_names); !error.empty())
    throw ConfigError(error, "start all ranks with the libraries that Levin was built with (see LD_LIBRARY_PATH)", "cuda");
  if (runtime.rank() != 0) return;
  for (const auto& warning : version_warnings(all, rank_names)) runtime.log().warning("{}", warning);
  for (const auto& warning : core_warnings(topology, rank_names)) runtime.log().warning("{}", warning);
  const auto loaded = library_of(cudnn_function("cudnnGetVersion"));
  const auto torch = library_of(reinterpret_cast<const void*>(&at::globalContext)).parent_path();
  if (const auto warning = cudnn_warning(loaded, torch); !warning.empty()) runtime.log().warning("{}", warning);
}

}  // namespace levin
