#include "profiler_list.h"

namespace levin {

void ProfilerList::begin_run(Stage stage, Session& session) {
  steps_ = 0;
  for (const auto& profiler : profilers_) profiler->begin_run(stage, session);
}

void ProfilerList::begin_step() {
  for (const auto& profiler : profilers_) profiler->begin_step(steps_);
  steps_++;
}

void ProfilerList::end_run(Stage stage, Session& session, const std::filesystem::path& folder) {
  for (const auto& profiler : profilers_) profiler->end_run(stage, session, folder);
}

void ProfilerList::begin(const RangeName& range) noexcept {
  for (const auto& profiler : profilers_) profiler->begin(range);
}

void ProfilerList::end() noexcept {
  for (const auto& profiler : profilers_) profiler->end();
}

}  // namespace levin
