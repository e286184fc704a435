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

  void validate() const;
};
LEVIN_CONFIG(RunConfig, (run_dir, "folder for the run's files; empty: runs/PROGRAM/RUN_NAME"),
             (run_name, "what the run is called; empty: the next free number"), (seed_everything, "seed of everything random", at_least(0)),
             (ckpt_path,
              "begin with: auto (the run's newest checkpoint, if there is one), last, best, none, or a checkpoint's folder; empty: "
              "auto for the fit of a run with a run_dir or run_name, else none"),
             (ckpt_strict, "a checkpoint that does not fit the model is an error; else what fits is loaded"),
             (checkpoint_dir, "where the run's checkpoints lie; empty: in its folder, as checkpoints. Else that is a link to it"),
             (resume_allow, "options that may change when a run goes on, though they change what it is"),
             (init_from, "weights to begin anew with: a checkpoint's folder, or a safetensors file; not used by a run that goes on"),
             (init_rename, "beginnings of names in that file, and what the model has in their place: {encoder.: backbone.}"),
             (init_exclude, "patterns (*, ?) of the model's names that are not loaded"))

/// The folder of a run that has a name or a folder.
std::optional<std::filesystem::path> named_folder(const RunConfig& config, const std::string& program);

/// The mark that one job uses a run's folder; it is gone when the process is.
class RunLock {
 public:
  RunLock() = default;
  /// Of one rank. ConfigError where another job has it.
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

/// Makes the folder of this run, the same on all ranks, and takes its lock on rank 0. What evaluates a training's run gets a folder in it.
/// IoError, on all ranks, when it cannot be made or written. Collective.
std::filesystem::path make_run_folder(MpiRuntime& mpi, const RunConfig& config, const std::string& program, const std::string& subcommand,
                                      RunLock& lock);

/// Replaces a file as a whole. IoError when it cannot be written.
void write_text(const std::filesystem::path& file, const std::string& text);

}  // namespace levin::cli
