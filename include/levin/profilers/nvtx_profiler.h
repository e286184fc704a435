#pragma once
#include "levin/core/config.h"
#include "levin/trainer/profiler.h"

namespace levin {

struct NVTXProfilerConfig {};
LEVIN_CONFIG(NVTXProfilerConfig)
LEVIN_CHOICE(NVTXProfilerConfig, "nvtx")

/// Marks the ranges of a run as NVTX ranges, for Nsight Systems, through LibTorch's CUDA library. It writes nothing itself. ConfigError at
/// the beginning of a run where LibTorch has no CUDA.
class NVTXProfiler : public Profiler {
 public:
  using Config = NVTXProfilerConfig;
  NVTXProfiler() = default;
  explicit NVTXProfiler(const NVTXProfilerConfig&) {}

  void begin_run(Stage stage, Session& session) override;
  void end_run(Stage, Session&, const std::filesystem::path&) override {}
  void begin(const RangeName& range) noexcept override;
  void end() noexcept override;
};

}  // namespace levin
