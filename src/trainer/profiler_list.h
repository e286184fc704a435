#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "levin/trainer/profiler.h"

namespace levin {

/// The profilers of a Trainer, which see ranges together. It must outlive every thread that runs collectives.
class ProfilerList : public RangeObserver {
 public:
  explicit ProfilerList(std::vector<std::shared_ptr<Profiler>> profilers) : profilers_(std::move(profilers)) {}
  void add(std::shared_ptr<Profiler> profiler) { profilers_.push_back(std::move(profiler)); }
  bool empty() const noexcept { return profilers_.empty(); }

  /// As those of Profiler.
  void begin_run(Stage stage, Session& session);
  void begin_step();
  void end_run(Stage stage, Session& session, const std::filesystem::path& folder);

  void begin(const RangeName& range) noexcept override;
  void end() noexcept override;

 private:
  std::vector<std::shared_ptr<Profiler>> profilers_;
  int64_t steps_ = 0;
};

}  // namespace levin
