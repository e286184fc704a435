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
  std::string previous = {};                         ///< run.json as the attempt before left it; empty: none
  std::string resumed_from = {};                     ///< a checkpoint; empty: from scratch
  int64_t first_step = 0;                            ///< steps done before this attempt
  std::vector<std::string> checkpoint_folders = {};  ///< of checkpoints that a training resumes from; see relative_to_run
  BatchJob job = {};
  std::string stopped_by = {};              ///< signals, the time limit; see JobWatch::describe
  std::vector<std::string> abandoned = {};  ///< folders that checkpoints of an abandoned branch were moved to
};

/// run.json: settings, versions, host map, strategy with its form, steps, samples/s, peak memory (bytes, of the largest rank), why it
/// ended (no exit code: it runs, or was killed), and all attempts of the run, the oldest first.
void write_run_record(const std::filesystem::path& file, const RunRecord& record, Trainer& trainer, std::optional<double> peak_bytes,
                      const std::string& exit_reason, std::optional<int> exit_code);

/// The text of a run.json; empty if the file does not exist.
std::string read_run_record(const std::filesystem::path& file);
/// The folders of a run's checkpoints: `checkpoints` in its folder, and the folders that run.json names beside it.
std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run_folder);
/// Whether a checkpoint is in one of these folders.
bool holds_checkpoint(const std::filesystem::path& run_folder, const std::filesystem::path& checkpoint);
/// How run.json names a folder of checkpoints: relative to the run's folder if it is in there, so that a run can be moved; else absolute.
std::string relative_to_run(const std::filesystem::path& folder, const std::filesystem::path& run_folder);
/// Whether a run.json has exit code 0 and this option. False for other files.
bool ended_well(const std::string& run_record, const std::string& option, const std::string& value);

/// The attempts of a run.json that ran this subcommand. None in other files.
std::vector<EarlierAttempt> attempts_in(const std::string& run_record, const std::string& subcommand);

/// A JSON object without the brace at its end, for a record that a crash writes.
std::string begin_of_record(const RunRecord& record, int ranks);

/// Largest resident memory of any rank so far. Collective.
double peak_bytes_of_all(Communicator& communicator);
std::string libtorch_version();
std::string hash_text(const std::string& text);
/// Hash of a file's content; empty when it cannot be read.
std::string hash_file(const std::filesystem::path& file);

}  // namespace levin::cli
