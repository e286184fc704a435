#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/checkpoint/manifest.h"

namespace levin {

// A folder of checkpoints: each is a directory with a manifest.json and a file. What is not yet, or no longer, a checkpoint has a name
// `.NAME.partial-…`. Nothing here is collective: one rank looks and tells the others.

struct FoundCheckpoint {
  std::filesystem::path path;
  Manifest manifest;
};

struct CheckpointListing {
  std::vector<FoundCheckpoint> checkpoints;  ///< by step, then by time: the newest is the last
  std::vector<std::string> refused;          ///< why a directory is none: its manifest is missing or cannot be used
};

/// Whether a directory of this name can be a checkpoint: at most 200 bytes of UTF-8, without a path, not hidden, neither the text file
/// `last` nor an abandoned branch (see branch.h).
bool is_checkpoint_name(const std::string& name);

/// The checkpoints whose manifests are valid; whether their files are as well, a reader finds out. Those that a new branch is moving are
/// left out. A folder that does not exist has none. Symbolic links are not followed.
CheckpointListing list_checkpoints(const std::filesystem::path& folder);
/// Those of several folders together.
CheckpointListing list_checkpoints(const std::vector<std::filesystem::path>& folders);

/// Removes a checkpoint: it is none from the first moment on, even when the removal is cut off. IoError when that fails.
void remove_checkpoint(const std::filesystem::path& checkpoint);

/// Removes what interrupted saves and removals left behind, and returns the names. What a living process is writing stays.
std::vector<std::string> remove_leftovers(const std::filesystem::path& folder);

/// The name in the text file `last`, a hint only: nothing where there is none, or it names nothing that is there.
std::optional<std::filesystem::path> read_last(const std::filesystem::path& folder);

/// The checkpoint that a path to a folder's text file `last` stands for; any other path as it is. DataError where `last` names no
/// checkpoint.
std::filesystem::path follow_last(const std::filesystem::path& path);

}  // namespace levin
