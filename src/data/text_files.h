#pragma once
#include <filesystem>
#include <vector>

namespace levin::detail {

/// The regular files that sources stand for, in the order of the sources; of a folder those below it, sorted by path. Below a folder hidden
/// files and folders (".git") and special files are left out; symbolic links are followed, and each folder is read once per source, so that
/// cycles end. A file or folder that is named itself may be hidden. DataError for a missing source and for a dangling link; IoError, with
/// the path, where the system refuses.
std::vector<std::filesystem::path> text_files(const std::vector<std::filesystem::path>& sources);

}  // namespace levin::detail
