#include "levin/profilers/nvtx_profiler.h"

#include <torch/csrc/profiler/stubs/base.h>

#include <exception>
#include <string>

#include "levin/core/error.h"
#include "range_text.h"

namespace levin {

void NVTXProfiler::begin_run(Stage, Session&) {
  if (!torch::profiler::impl::cudaStubs()->enabled())
    throw ConfigError("the nvtx profiler needs CUDA, and this process has not loaded it",
                      "set trainer.accelerator to gpu, or choose pytorch", "profilers");
}

void NVTXProfiler::begin(const RangeName& range) noexcept try {
  thread_local std::string name;
  detail::describe_range(range, name);
  torch::profiler::impl::cudaStubs()->rangePush(name.c_str());
} catch (const std::exception&) {
  return;  // no memory: the end closes the range around it
}

void NVTXProfiler::end() noexcept { torch::profiler::impl::cudaStubs()->rangePop(); }

}  // namespace levin
