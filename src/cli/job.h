#pragma once
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "crash_report.h"
#include "levin/cli/run.h"
#include "levin/cluster/job_end.h"
#include "levin/cluster/job_watch.h"
#include "levin/cluster/watchdog.h"
#include "plan_command.h"
#include "run_folder.h"
#include "run_record.h"
#include "stop_after_steps.h"

namespace levin {
class CheckpointReader;
class TensorSource;
}  // namespace levin

namespace levin::cli {

/// The values of a program's options.
struct Settings {
  TrainerConfig trainer;
  std::optional<OptimizerConfig> optimizer;
  std::optional<LrSchedulerConfig> lr_scheduler;
  RunConfig run;
  JobConfig job;
  PlanConfig plan;
  ConfigValue as_given;               // with paths as given, not absolute: the contents of config.yaml
  std::optional<ConfigValue> before;  // config.yaml of the attempt that this one resumes
  std::filesystem::path directory;    // initial working directory
  std::filesystem::path runs;         // parent of run directories without a run_dir
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

/// One run of one subcommand on all ranks.
class Job {
 public:
  Job(const Settings& settings, ProgramOptions& options, const Program& program, MpiRuntime& mpi, CrashReport& crashes, std::string name,
      std::string subcommand);
  ~Job() { crashes_.agree_by(nullptr); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Communicator& communicator() { return trainer_.session().communicator().cpu(); }
  /// Returns the exit code. The caller passes exceptions to failed().
  int run();
  void failed(const std::string& message, int code) noexcept;
  /// After an exception: rank 0's loggers note the end while the process lives.
  void finalize_loggers() noexcept;

 private:
  void write_config() const;
  void begin_training();
  bool was_tested();
  bool is_of_this_run(const CheckpointReader& checkpoint);
  std::unique_ptr<CheckpointReader> find_checkpoint();
  std::unique_ptr<CheckpointReader> another_checkpoint(const CheckpointReader& corrupt, const std::string& why);
  std::unique_ptr<TensorSource> open_init_from(const CheckpointReader* checkpoint);
  void fit(Module& module, DataModule& data, const LoadFrom& from);
  void evaluate(Module& module, DataModule& data, const LoadFrom& from);
  void apply_links(DataModule& data);
  void start_watchdog();
  void request_step_times();
  double save_seconds();
  JobEnd agree_on_end();
  void finish(int code);
  std::string folder_for_reader() const;

  const Settings& settings_;
  ProgramOptions& options_;
  const Program& program_;
  MpiRuntime& mpi_;
  CrashReport& crashes_;
  std::string subcommand_;
  JobWatch watch_;
  Trainer trainer_;
  RunRecord record_;
  RunLock lock_;
  std::filesystem::path folder_;
  bool tests_ = false;                                                                 // a complete training still has to run its test
  std::chrono::steady_clock::time_point compared_ = std::chrono::steady_clock::now();  // the ranks' step times
  std::optional<Watchdog> watchdog_;
};

}  // namespace levin::cli
