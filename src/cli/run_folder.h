#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config.h"

namespace levin {
class MpiRuntime;
}

namespace levin::cli {

/// The ungrouped options of a program.
struct RunConfig {
  std::filesystem::path run_dir;
  std::string run_name;
  int64_t seed_everything = 0;
  std::string ckpt_path;
  bool ckpt_strict = true;
  std::filesystem::path checkpoint_dir;
  std::vector<std::string> resume_allow;
  std::filesystem::path init_from;
  std::map<std::string, std::string> init_rename;
  std::vector<std::string> init_exclude;
  bool init_convert_fp8 = false;

  void validate() const;
};
LEVIN_CONFIG(RunConfig, (run_dir, "directory of the run's files; empty: runs/PROGRAM/RUN_NAME"),
             (run_name, "name of the run's directory in runs/PROGRAM; empty: the next free number"),
             (seed_everything, "seed of all random generators", at_least(0)),
             (ckpt_path,
              "checkpoint to load: auto (the run's newest, if any), last, best, none, or a checkpoint's directory; empty: "
              "auto for the fit of a run with a run_dir or run_name, else none"),
             (ckpt_strict, "a checkpoint that does not fit the model is an error; else what fits is loaded"),
             (checkpoint_dir,
              "directory of the run's checkpoints, to which RUN_DIR/checkpoints becomes a link; empty: RUN_DIR/checkpoints"),
             (resume_allow, "options that may change on resume although they define the run"),
             (init_from,
              "initial weights of a new run: a checkpoint's directory, a safetensors file, or a model.safetensors.index.json; not used on "
              "resume"),
             (init_rename, "prefixes of names in that file and the model's prefixes for them: {encoder.: backbone.}"),
             (init_exclude, "patterns (*, ?) of the model's tensors that are not loaded"),
             (init_convert_fp8,
              "converts fp8 tensors (E4M3, E5M2) of that file to the model's dtype, value by value, without their scales"))

/// The directory of a run that was given a run_dir or, in `runs`, a run_name.
std::optional<std::filesystem::path> named_folder(const RunConfig& config, const std::filesystem::path& runs);

/// Locks a run's folder for one job. The kernel releases the lock when the process ends.
class RunLock {
 public:
  RunLock() = default;
  /// Call it on one rank. ConfigError if another job holds the lock.
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(RunLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  RunLock& operator=(RunLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }

 private:
  int file_ = -1;
};

/// Creates the folder of this run, the same on all ranks, and locks it on rank 0. An evaluation of a training's run gets a subfolder.
/// IoError, on all ranks, if it cannot be created or written. Collective.
std::filesystem::path make_run_folder(MpiRuntime& mpi, const RunConfig& config, const std::filesystem::path& runs,
                                      const std::string& subcommand, RunLock& lock);

/// Replaces a file atomically and flushes it to disk. IoError if it cannot be written.
void write_text(const std::filesystem::path& file, const std::string& text);

}  // namespace levin::cli
