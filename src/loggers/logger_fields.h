#pragma once
// What loggers make of the fields that their configs share.
#include <filesystem>
#include <string>

namespace levin::detail {

/// "run-" of the prefix "run"; nothing of an empty one.
inline std::string name_prefix(const std::string& prefix) { return prefix.empty() ? "" : prefix + "-"; }

/// The configured folder; the run's where none is.
inline const std::filesystem::path& save_folder(const std::filesystem::path& save_dir, const std::filesystem::path& run_folder) {
  return save_dir.empty() ? run_folder : save_dir;
}

}  // namespace levin::detail
