#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "../core/file.h"
#include "create_file.h"

namespace levin::detail {

/// A directory `.NAME.partial-…` in a folder: commit() renames it to the checkpoint NAME, the destructor removes it otherwise. A lock on
/// its file protects it from remove_leftovers.
class PartialCheckpoint {
 public:
  /// Creates the folder if it is missing, the directory, and an empty file in it. UsageError for an invalid name, else IoError.
  PartialCheckpoint(const std::filesystem::path& folder, std::string name, const std::string& file_name, MpiIoHints hints = {});
  ~PartialCheckpoint();
  PartialCheckpoint(const PartialCheckpoint&) = delete;
  PartialCheckpoint& operator=(const PartialCheckpoint&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  /// Writes the manifest and renames the directory; replaces an existing checkpoint atomically where the file system can. IoError.
  void commit(const std::string& manifest_text, bool sync);

 private:
  /// False if another process removed the directory meanwhile.
  bool create(const std::string& file_name);

  std::filesystem::path folder_, path_;
  std::string name_;
  MpiIoHints hints_;
  File lock_;
  bool committed_ = false;
};

enum class Lock { taken, held_by_another, impossible };
/// Locks a file without waiting. The kernel releases the lock when the process ends, even if it is killed.
Lock try_lock(const File& file);

constexpr const char* partial_mark = ".partial-";
/// Ends the name of an old checkpoint while a new one takes its place, on a file system that cannot exchange them.
constexpr std::string_view replaced_mark = "-replaced";

}  // namespace levin::detail
