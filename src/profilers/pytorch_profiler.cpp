#include "levin/profilers/pytorch_profiler.h"

#include <ATen/record_function.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <set>
#include <system_error>
#include <utility>

#include "levin/comm/communicator_error.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/session.h"
#include "merged_trace.h"
#include "range_text.h"
#include "thread_ranges.h"

namespace levin {
namespace {

using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerState;

std::set<ActivityType> recorded_activities(bool gpu) {
  return gpu ? std::set<ActivityType>{ActivityType::CPU, ActivityType::CUDA} : std::set<ActivityType>{ActivityType::CPU};
}

torch::profiler::impl::ProfilerConfig kineto_config(const PyTorchProfilerConfig& config) {
  return torch::profiler::impl::ProfilerConfig(ProfilerState::KINETO, config.record_shapes, config.profile_memory, /*with_stack=*/false,
                                               config.with_flops);
}

}  // namespace

// A range of LibTorch's profilers. It keeps the name, which LibTorch does not copy.
struct PyTorchProfiler::OpenRange {
  explicit OpenRange(std::string text) : name(std::move(text)), function(at::RecordScope::USER_SCOPE) {
    if (function.isActive()) function.before(std::string_view(name));
  }
  std::string name;
  at::RecordFunction function;
};

PyTorchProfiler::PyTorchProfiler(const PyTorchProfilerConfig& config)
    : config_(config),
      schedule_{config.skip_first, config.wait, config.warmup, config.active, config.repeat},
      other_threads_(std::make_unique<detail::ThreadRanges>()) {
  check_config(config_);
}

PyTorchProfiler::~PyTorchProfiler() { discard_parts(); }

void PyTorchProfiler::discard_parts() noexcept {
  step_range_.reset();
  open_.clear();
  other_threads_->clear();
  if (std::exchange(recording_, false)) try {
      torch::autograd::profiler::disableProfiler();
    } catch (const std::exception&) {  // what it recorded is not wanted
      prepared_ = false;
    }
  std::error_code ignored;
  for (const auto& part : parts_) std::filesystem::remove(part.kineto, ignored);
  parts_.clear();
}

void PyTorchProfiler::begin_run(Stage, Session& session) {
  discard_parts();  // of a run that an exception ended
  training_thread_ = std::this_thread::get_id();
  rank_ = session.rank();
  log_ = session.runtime().log();
  traced_ = rank_ < config_.max_ranks;
  on_gpu_ = session.device().is_cuda();
  prepared_ = false;
  if (!on_gpu_) setenv("KINETO_LOG_LEVEL", "5", /*overwrite=*/0);  // it reports GPUs that it does not find as an error
}

void PyTorchProfiler::begin_step(int64_t step) {
  if (!traced_) return;
  step_range_.reset();
  if (std::exchange(action_, schedule_.action(step)) == ProfilerAction::record_and_save) stop_recording();
  if (action_ == ProfilerAction::warmup && !std::exchange(prepared_, true))
    torch::autograd::profiler::prepareProfiler(kineto_config(config_), recorded_activities(on_gpu_));
  if (action_ == ProfilerAction::record || action_ == ProfilerAction::record_and_save) start_recording();
  if (recording_) step_range_ = std::make_unique<OpenRange>(fmt::format("ProfilerStep#{}", step));
}

void PyTorchProfiler::start_recording() {
  if (recording_) return;
  const auto activities = recorded_activities(on_gpu_);
  if (!std::exchange(prepared_, true)) torch::autograd::profiler::prepareProfiler(kineto_config(config_), activities);
  torch::autograd::profiler::enableProfiler(kineto_config(config_), activities);
  other_threads_->record();
  recording_ = true;
}

void PyTorchProfiler::stop_recording() {
  step_range_.reset();
  if (!std::exchange(recording_, false)) return;
  prepared_ = false;
  auto ranges = other_threads_->stop();
  const auto result = torch::autograd::profiler::disableProfiler();
  std::error_code missing;
  auto folder = std::filesystem::temp_directory_path(missing);
  if (missing) folder = "/tmp";  // TMPDIR names no folder
  const auto part = folder / fmt::format("levin-trace-{}-{}-{}.json", rank_, getpid(), parts_.size());
  parts_.push_back({part, std::move(ranges)});
  try {
    result->save(part);
  } catch (const std::exception& error) {  // end_run finds no part, and writes no trace
    log_.warning("[profilers] a trace cannot be written to {}: {}", part.string(), error.what());
  }
}

void PyTorchProfiler::begin(const RangeName& range) noexcept try {
  if (!traced_) return;
  thread_local std::string name;
  detail::describe_range(range, name);
  if (std::this_thread::get_id() == training_thread_)
    open_.push_back(std::make_unique<OpenRange>(name));
  else
    other_threads_->begin(name);
} catch (const std::bad_alloc&) {
  return;  // the end finds one range less
}

void PyTorchProfiler::end() noexcept {
  if (!traced_) return;
  if (std::this_thread::get_id() != training_thread_)
    other_threads_->end();
  else if (!open_.empty())
    open_.pop_back();
}

void PyTorchProfiler::end_run(Stage stage, Session& session, const std::filesystem::path& folder) {
  if (traced_) stop_recording();
  traces_.clear();
  const int ranks = static_cast<int>(std::min<int64_t>(config_.max_ranks, session.size()));
  const auto directory = config_.dirpath.empty() ? folder : config_.dirpath;
  const auto& log = session.runtime().log();
  // Rank 0 decides: a rank whose run was shorter has fewer parts.
  const auto cycles = broadcast_value(session.communicator(), static_cast<int64_t>(directory.empty() ? 0 : parts_.size()));
  if (cycles == 0)
    log.warning("[profilers] no trace: {}", directory.empty()
                                                ? "neither the run nor the profiler has a folder; set dirpath"
                                                : "the run ended before the first recorded step; lower wait, warmup or skip_first");
  for (int64_t cycle = 0; cycle < cycles; cycle++) {
    const auto name = fmt::format("{}-{}{}.pt.trace.json", stage_name(stage), config_.filename.empty() ? "trace" : config_.filename,
                                  cycle == 0 ? "" : fmt::format("-{}", cycle + 1));
    const auto index = static_cast<size_t>(cycle);
    try {
      detail::merge_traces(session, ranks, index < parts_.size() ? parts_[index] : detail::TracePart(), directory / name);
      if (session.rank() == 0) traces_.push_back(directory / name);
      log.info("trace of {} {}: {}", ranks, ranks == 1 ? "rank" : "ranks", (directory / name).string());
    } catch (const CommunicatorAborted&) {
      throw;
    } catch (const std::exception& error) {  // a training does not fail for its trace
      if (session.rank() == 0) log.warning("[profilers] the trace is not written: {}", error.what());
    }
  }
  discard_parts();
}

}  // namespace levin
