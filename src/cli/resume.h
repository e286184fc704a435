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
/// or a folder goes on where it ended; all else begins anew.
std::string effective_ckpt_path(const RunConfig& config, const std::string& subcommand);

/// The config that a run was started with before, where this start goes on with it or evaluates it.
std::optional<std::filesystem::path> config_of_the_run(const RunConfig& config, const std::filesystem::path& runs,
                                                       const std::string& subcommand);
/// Whether an option, or a group, of that config is taken over by this start, if nothing else sets it.
bool taken_over(const std::string& key, const std::string& subcommand);

/// The checkpoint that is meant, found whole; null where there is none and none is needed. Collective. ConfigError where there is none of
/// that name, DataError for one that is damaged.
std::unique_ptr<CheckpointReader> find_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                  Communicator& communicator, const Log& log);

/// For one that turned out to be damaged while it was loaded, where --ckpt_path is auto or last: the newest of the others, or DataError;
/// where a checkpoint was named, null. Collective.
std::unique_ptr<CheckpointReader> another_checkpoint(const std::string& ckpt_path, const std::optional<std::filesystem::path>& run_folder,
                                                     const std::filesystem::path& damaged, const std::string& why,
                                                     Communicator& communicator, const Log& log);

/// What --init_from names, opened; null where it names nothing. Collective. ConfigError where there is no such file, DataError for one that
/// cannot be used.
std::unique_ptr<TensorSource> open_init_from(const std::filesystem::path& init_from, Communicator& communicator);

/// Tells how the options differ from those of the start before, in which `before` was saved. ConfigError for one that changes what the run
/// is (model, data, optimizer, precision, seed) and is not among `allowed`, which are paths or groups.
void compare_configs(const ConfigValue& before, const ConfigValue& now, const std::vector<std::string>& allowed, const Log& log);

}  // namespace levin::cli
