#pragma once
#include <filesystem>
#include <string>

#include "../core/file.h"
#include "create_file.h"

namespace levin::detail {

/// A directory `.NAME.partial-…` in a folder, which becomes the checkpoint NAME, or nothing. While it lives, nobody takes it for a
/// leftover.
class PartialCheckpoint {
 public:
  /// Makes the folder where there is none, the directory, and an empty file in it.
  PartialCheckpoint(const std::filesystem::path& folder, std::string name, const std::string& file_name, MpiIoHints hints = {});
  /// Removes the directory, unless it was committed.
  ~PartialCheckpoint();
  PartialCheckpoint(const PartialCheckpoint&) = delete;
  PartialCheckpoint& operator=(const PartialCheckpoint&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  /// Writes the manifest and gives the directory its name, in place of a checkpoint that has this name.
  void commit(const std::string& manifest_text, bool sync);

 private:
  bool make(const std::string& file_name);

  std::filesystem::path folder_, path_;
  std::string name_;
  MpiIoHints hints_;
  File lock_;
  bool committed_ = false;
};

enum class Lock { taken, held_by_another, impossible };
/// A file's lock, which goes with its process, even when that is killed.
Lock try_lock(const File& file);

constexpr const char* partial_mark = ".partial-";

}  // namespace levin::detail
