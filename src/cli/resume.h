#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/config_value.h"

namespace levin {
class CheckpointReader;
class Communicator;
class Log;
class TensorSource;
}  // namespace levin

namespace levin::cli {

struct RunConfig;

/// Whether a --ckpt_path is a keyword (auto, last, best, none) and not a path.
bool is_ckpt_word(const std::string& ckpt_path);

/// Resolves an empty --ckpt_path for a subcommand: auto for the fit of a run with a name or a folder, else none. Returns a keyword or a
/// path.
std::string effective_ckpt_path(const RunConfig& config, const std::string& subcommand);

/// The config of the run's previous attempt, if this attempt resumes or evaluates it.
std::optional<std::filesystem::path> config_of_the_run(const RunConfig& config, const std::filesystem::path& runs,
                                                       const std::string& subcommand);
/// Whether this attempt takes an option or group from that config unless it is set otherwise.
bool taken_over(const std::string& key, const std::string& subcommand);

/// Opens and verifies the chosen checkpoint; null if none exists and none is needed. Collective. ConfigError for a missing
/// checkpoint, DataError for a corrupt one.
std::unique_ptr<CheckpointReader> find_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                  Communicator& communicator, const Log& log);

/// The replacement for a checkpoint found corrupt during loading, if --ckpt_path is auto or last: the newest of the others, or DataError;
/// null for any other --ckpt_path. Collective.
std::unique_ptr<CheckpointReader> another_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                     const std::filesystem::path& corrupt, const std::string& why,
                                                     Communicator& communicator, const Log& log);

/// Opens the file of --init_from; null if it is empty. Collective. ConfigError for a missing file, DataError for an invalid one.
std::unique_ptr<TensorSource> open_init_from(const std::filesystem::path& init_from, Communicator& communicator, bool convert_fp8);

/// Logs the differences between the options and those of the previous attempt, `before`. ConfigError for a change of an option that defines
/// the run (model, data, optimizer, precision, seed), unless `allowed`, which lists paths or groups, has it.
void compare_configs(const ConfigValue& before, const ConfigValue& current, const std::vector<std::string>& allowed, const Log& log);

}  // namespace levin::cli
