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

/// Whether a --ckpt_path is one of the words auto, last, best and none, and not a path.
bool is_ckpt_word(const std::string& ckpt_path);

/// What --ckpt_path means for a subcommand: of the words auto, last, best and none, or a checkpoint's path. A fit of a run that has a name
/// or a folder resumes where it ended; everything else starts over.
std::string effective_ckpt_path(const RunConfig& config, const std::string& subcommand);

/// The config of the run's previous attempt, if this attempt resumes or evaluates it.
std::optional<std::filesystem::path> config_of_the_run(const RunConfig& config, const std::filesystem::path& runs,
                                                       const std::string& subcommand);
/// Whether this attempt takes an option, or a group, from that config if nothing else sets it.
bool taken_over(const std::string& key, const std::string& subcommand);

/// Opens and verifies the chosen checkpoint; null if none exists and none is needed. Collective. ConfigError for a missing
/// checkpoint, DataError for a corrupt one.
std::unique_ptr<CheckpointReader> find_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                  Communicator& communicator, const Log& log);

/// The replacement for a checkpoint found corrupt during loading, if --ckpt_path is auto or last: the newest of the others, or DataError;
/// null if --ckpt_path names a checkpoint. Collective.
std::unique_ptr<CheckpointReader> another_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                     const std::filesystem::path& damaged, const std::string& why,
                                                     Communicator& communicator, const Log& log);

/// Opens the file of --init_from; null without one. Collective. ConfigError for a missing file, DataError for one that
/// cannot be used.
std::unique_ptr<TensorSource> open_init_from(const std::filesystem::path& init_from, Communicator& communicator);

/// Logs how the options differ from those of the previous attempt, `before`. ConfigError for one that changes what the run
/// is (model, data, optimizer, precision, seed) and is not among `allowed`, which are paths or groups.
void compare_configs(const ConfigValue& before, const ConfigValue& now, const std::vector<std::string>& allowed, const Log& log);

}  // namespace levin::cli
