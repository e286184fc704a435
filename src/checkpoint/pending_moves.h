#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::detail {

/// The list of an open_branch in progress: the names of the checkpoints, and the subdirectory that they move to.
struct PendingMoves {
  std::string target;
  std::vector<std::string> names;

  /// The list in a folder; nullopt if the file is missing or malformed.
  static std::optional<PendingMoves> read(const std::filesystem::path& folder);
  /// Replaces the folder's list atomically. IoError.
  void write(const std::filesystem::path& folder) const;
  static constexpr const char* file_name = ".abandoned";
};

}  // namespace levin::detail
