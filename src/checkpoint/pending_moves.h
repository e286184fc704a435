#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::detail {

/// The list of an open_branch under way: names of checkpoints, and the directory in the folder that they move to.
struct PendingMoves {
  std::string target;
  std::vector<std::string> names;

  /// The list that a folder has; nothing where there is none, or where a file of this name is not such a list.
  static std::optional<PendingMoves> read(const std::filesystem::path& folder);
  /// Replaces the folder's list by one rename. IoError.
  void write(const std::filesystem::path& folder) const;
  static constexpr const char* file_name = ".abandoned";
};

}  // namespace levin::detail
