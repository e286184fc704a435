#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/cluster/batch_job.h"
#include "levin/cluster/job_end.h"
#include "levin/core/config_value.h"

namespace levin {
class Communicator;
class Trainer;
}  // namespace levin

namespace levin::cli {

/// The record of a run before it starts.
struct RunRecord {
  std::string program, subcommand;
  ConfigValue config;
  std::chrono::system_clock::time_point start = std::chrono::system_clock::now();
  std::string previous = {};                         ///< run.json of the previous attempt; empty: none
  std::string resumed_from = {};                     ///< a checkpoint; empty: from scratch
  int64_t first_step = 0;                            ///< steps done before this attempt
  std::vector<std::string> checkpoint_folders = {};  ///< folders that auto and last search; see relative_to_run
  BatchJob job = {};
  std::string stopped_by = {};              ///< signals, the time limit; see JobWatch::describe
  std::vector<std::string> abandoned = {};  ///< folders of abandoned branches that this attempt created
};

/// Writes run.json: settings, versions, host map, strategy, steps, samples/s, peak memory (bytes, maximum over ranks), exit reason and code
/// (no code: running, or killed), and all attempts of the run, oldest first.
void write_run_record(const std::filesystem::path& file, const RunRecord& record, Trainer& trainer, std::optional<double> peak_bytes,
                      const std::string& exit_reason, std::optional<int> exit_code);

/// The text of a run.json; empty if the file does not exist.
std::string read_run_record(const std::filesystem::path& file);
/// The folders of a run's checkpoints: `checkpoints` in its folder, and the folders that run.json lists.
std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run_folder);
/// Whether a checkpoint is in one of these folders.
bool holds_checkpoint(const std::filesystem::path& run_folder, const std::filesystem::path& checkpoint);
/// The path of a checkpoint folder in run.json: relative if it lies in the run's folder, so that the run can be moved; else absolute.
std::string relative_to_run(const std::filesystem::path& folder, const std::filesystem::path& run_folder);
/// Whether a run.json has exit code 0 and this value of the option. False for other texts.
bool ended_well(const std::string& run_record, const std::string& option, const std::string& value);

/// The attempts of a run.json that ran this subcommand. None in other files.
std::vector<EarlierAttempt> attempts_in(const std::string& run_record, const std::string& subcommand);

/// run.json without its exit and closing brace, for CrashReport.
std::string begin_of_record(const RunRecord& record, int ranks);

/// Peak resident memory so far, in bytes, maximum over ranks. Collective.
double peak_bytes_of_all(Communicator& communicator);
std::string libtorch_version();
std::string hash_text(const std::string& text);

}  // namespace levin::cli
