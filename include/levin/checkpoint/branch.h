#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin {

// The checkpoints of a folder belong to one branch: the training that is running, and its past. A start that goes back to an older
// checkpoint, or begins anew, opens a new branch; the checkpoints of the abandoned one move to abandoned-1, abandoned-2, … in the folder,
// each of which is a folder of checkpoints itself. Nothing is deleted. Nothing here is collective: one rank acts for all.

/// What a new branch has moved.
struct AbandonedBranch {
  std::filesystem::path folder;    ///< where the checkpoints are now; empty: nothing was moved
  std::vector<std::string> names;  ///< of their directories, sorted
};

/// Opens a branch. `resumed_step`: of the folder's checkpoint that the training resumes from; checkpoints of later steps move. Empty: the
/// training has no past in this folder; all checkpoints move, corrupt ones too. The text file `last` then names the newest that stays.
///
/// The switch is one atomic rename of a list; then each checkpoint moves by one rename. A process that is killed in between leaves the list
/// behind: list_checkpoints no longer shows what it names, and the next call completes the moves. IoError when a rename fails.
///
///     folder with steps 10, 20, 30, 40; open_branch(folder, 20) -> 10, 20, abandoned-1/{30, 40}
AbandonedBranch open_branch(const std::filesystem::path& folder, std::optional<int64_t> resumed_step);

/// Whether a name in a folder of checkpoints is that of an abandoned branch.
bool is_abandoned_branch(const std::string& name);

}  // namespace levin
