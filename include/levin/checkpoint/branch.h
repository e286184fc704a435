#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin {

// The checkpoints of a folder belong to one branch: the running training and its past. An attempt that resumes from an older checkpoint,
// or starts over, opens a new branch. The checkpoints of the abandoned branch move to a subfolder: abandoned-1, abandoned-2, …, which is
// itself a folder of checkpoints. Nothing is deleted. These functions are not collective: one rank calls them for all.

/// The checkpoints that a new branch has moved.
struct AbandonedBranch {
  std::filesystem::path folder;    ///< their new folder; empty: nothing was moved
  std::vector<std::string> names;  ///< names of their directories, sorted
};

/// Opens a branch. `resumed_step` is the step of the folder's checkpoint that the training resumes from: checkpoints of later steps move.
/// Empty: the training has no past in this folder, and all checkpoints move, corrupt ones included. The text file `last` then names the
/// newest remaining checkpoint.
///
/// One atomic rename of a list switches the branch; one more rename moves each checkpoint. If the process is killed in between, the list
/// remains: list_checkpoints skips the checkpoints on it, and the next call completes the moves. IoError if a rename fails.
///
///     folder with steps 10, 20, 30, 40; open_branch(folder, 20) -> 10, 20, abandoned-1/{30, 40}
AbandonedBranch open_branch(const std::filesystem::path& folder, std::optional<int64_t> resumed_step);

/// Whether `name`, in a folder of checkpoints, is an abandoned branch's.
bool is_abandoned_branch(const std::string& name);

}  // namespace levin
