#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/log.h"
#include "levin/profilers/profiler_schedule.h"
#include "levin/trainer/profiler.h"

namespace levin {
namespace detail {
class ThreadRanges;
struct TracePart;
}  // namespace detail

/// Arguments of torch.profiler.profile and its schedule. A step is an optimizer step, or a batch of an evaluation.
struct PyTorchProfilerConfig {
  std::filesystem::path dirpath = {};
  std::string filename = {};
  int64_t skip_first = 0;
  int64_t wait = 1;
  int64_t warmup = 1;
  int64_t active = 3;
  int64_t repeat = 1;
  bool record_shapes = false;
  bool profile_memory = false;
  bool with_flops = false;
  int64_t max_ranks = 16;
};
LEVIN_CONFIG(PyTorchProfilerConfig, (dirpath, "folder of the traces; empty: the run's"),
             (filename, "STAGE-FILENAME.pt.trace.json in that folder; empty: STAGE-trace.pt.trace.json"),
             (skip_first, "steps before the first cycle", at_least(0)), (wait, "steps of a cycle without the profiler", at_least(0)),
             (warmup, "steps of a cycle that start the profiler", at_least(0)), (active, "steps of a cycle that are recorded", at_least(1)),
             (repeat, "cycles, each of which makes a trace; 0: until the end of the run", at_least(0)),
             (record_shapes, "with the shapes of operators' inputs"), (profile_memory, "with allocations of tensors"),
             (with_flops, "with operations of matrix products and convolutions"),
             (max_ranks, "ranks that are traced, the first ones", at_least(1)))
LEVIN_CHOICE(PyTorchProfilerConfig, "pytorch")

/// Traces LibTorch's operators, the kernels of a GPU and the ranges of a run with Kineto. At the end of a run rank 0 writes the traces of
/// all ranks as one file for each cycle, for Perfetto and chrome://tracing: a process for each rank, on one time line. Each rank
/// keeps its traces in the temporary directory (TMPDIR; /tmp where that names none) until then. Where a trace cannot be written, the run
/// has a warning in its place. Operators are those of the training thread; of a communication thread a trace has the collectives. At most
/// one profiler of this kind can record in a thread.
class PyTorchProfiler : public Profiler {
 public:
  using Config = PyTorchProfilerConfig;
  explicit PyTorchProfiler(const PyTorchProfilerConfig& config = {});
  ~PyTorchProfiler() override;

  void begin_run(Stage stage, Session& session) override;
  void begin_step(int64_t step) override;
  void end_run(Stage stage, Session& session, const std::filesystem::path& folder) override;
  void begin(const RangeName& range) noexcept override;
  void end() noexcept override;

  /// The files of the last run, on rank 0.
  const std::vector<std::filesystem::path>& traces() const noexcept { return traces_; }

 private:
  void start_recording();
  void stop_recording();
  void discard_parts() noexcept;

  PyTorchProfilerConfig config_;
  ProfilerSchedule schedule_;
  Log log_;
  int rank_ = 0;
  bool traced_ = false, on_gpu_ = false, prepared_ = false, recording_ = false;
  ProfilerAction action_ = ProfilerAction::none;
  struct OpenRange;
  std::thread::id training_thread_;
  std::unique_ptr<OpenRange> step_range_;
  std::vector<std::unique_ptr<OpenRange>> open_;  // of the training thread
  std::unique_ptr<detail::ThreadRanges> other_threads_;
  std::vector<detail::TracePart> parts_;       // this rank's; Kineto's files are in the temporary directory
  std::vector<std::filesystem::path> traces_;  // of all ranks
};

}  // namespace levin
