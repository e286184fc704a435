#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/checkpoint/manifest.h"

namespace levin {

// A folder of checkpoints. Each checkpoint is a directory with a manifest.json and HDF5 files; while it is written or removed the directory
// is called `.NAME.partial-…`. These functions are not collective: one rank calls them and broadcasts the result.

struct FoundCheckpoint {
  std::filesystem::path path;
  Manifest manifest;
};

struct CheckpointListing {
  std::vector<FoundCheckpoint> checkpoints;  ///< by step, then by time; the newest is last
  std::vector<std::string> refused;          ///< an error for each directory whose manifest is missing or invalid
};

/// Whether `name` is valid for a checkpoint: at most 200 bytes of UTF-8, no slash, no leading dot, neither `last` nor the name of an
/// abandoned branch (see branch.h).
bool is_checkpoint_name(const std::string& name);

/// The checkpoints with valid manifests; CheckpointReader verifies their files. Skips checkpoints that open_branch is moving, and symbolic
/// links. A missing folder gives an empty listing. IoError if the folder cannot be listed.
CheckpointListing list_checkpoints(const std::filesystem::path& folder);
/// The checkpoints of several folders, in one listing.
CheckpointListing list_checkpoints(const std::vector<std::filesystem::path>& folders);

/// Removes a checkpoint atomically: an interrupted removal leaves no checkpoint, only leftovers. IoError on failure.
void remove_checkpoint(const std::filesystem::path& checkpoint);

/// Removes leftovers of interrupted saves and removals, and returns their names. A directory that a running process writes stays.
std::vector<std::string> remove_leftovers(const std::filesystem::path& folder);

/// The checkpoint that the text file `last` names, a hint only; nullopt if the file or the checkpoint is missing.
std::optional<std::filesystem::path> read_last(const std::filesystem::path& folder);

/// The checkpoint that a path to a folder's text file `last` stands for; any other path as it is. DataError where `last` names no
/// checkpoint.
std::filesystem::path follow_last(const std::filesystem::path& path);

}  // namespace levin
