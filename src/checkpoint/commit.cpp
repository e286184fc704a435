#include "commit.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/manifest.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

namespace fs = std::filesystem;

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw IoError(fmt::format("cannot create the directory {}: {}", folder.string(), error.message()), "save to a writable directory",
                  "checkpoint");
}

// Replaces an existing checkpoint. RENAME_EXCHANGE: at every moment a complete checkpoint has the name.
void rename_over(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return;
  const auto fail = [&](int error) { throw_io_error(fmt::format("cannot rename {} to {}", from.string(), to.filename().string()), error); };
  if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) fail(errno);
  fs::path old = from;
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    old += replaced_mark;  // for file systems without RENAME_EXCHANGE; if the process is killed now, list_checkpoints restores it
    if (rename(to.c_str(), old.c_str()) != 0) fail(errno);
    if (rename(from.c_str(), to.c_str()) != 0) {
      const int error = errno;
      rename(old.c_str(), to.c_str());
      fail(error);
    }
  }
  std::error_code unseen;  // on failure, remove_leftovers removes it later
  fs::remove_all(old, unseen);
}

}  // namespace

Lock try_lock(const File& file) {
  if (flock(file.descriptor(), LOCK_EX | LOCK_NB) == 0) return Lock::taken;
  return errno == EWOULDBLOCK ? Lock::held_by_another : Lock::impossible;
}

PartialCheckpoint::PartialCheckpoint(const fs::path& folder, std::string name, const std::string& file_name, MpiIoHints hints)
    : folder_(folder), name_(std::move(name)), hints_(std::move(hints)) {
  if (!is_checkpoint_name(name_))
    throw UsageError("checkpoint", fmt::format("invalid checkpoint name {}", quote(name_)),
                     "use at most 200 bytes, no slash, no leading dot or \"abandoned-\", and not \"last\"");
  create_folder(folder_);
  // Another process's remove_leftovers can remove the directory before it is locked.
  for (int attempt = 0; attempt < 3; attempt++)
    if (create(file_name)) return;
  throw IoError(fmt::format("another process removed {} during its creation", path_.string()), "let only one job use the directory",
                "checkpoint");
}

bool PartialCheckpoint::create(const std::string& file_name) {
  for (int number = 0;; number++) {
    path_ = folder_ / fmt::format(".{}{}{}-{}", name_, partial_mark, getpid(), number);
    if (mkdir(path_.c_str(), 0775) == 0) break;
    if (errno != EEXIST) throw_io_error(fmt::format("cannot create {}", path_.string()), errno);
  }
  try {
    lock_ = create_file(path_ / file_name, hints_);
  } catch (const IoError&) {
    std::error_code unseen;
    if (fs::symlink_status(path_, unseen).type() == fs::file_type::not_found) return false;
    fs::remove_all(path_, unseen);
    throw;
  }
  struct stat about {};
  return try_lock(lock_) != Lock::held_by_another && fstat(lock_.descriptor(), &about) == 0 && about.st_nlink > 0;
}

PartialCheckpoint::~PartialCheckpoint() {
  std::error_code unseen;
  if (!committed_) fs::remove_all(path_, unseen);
}

void PartialCheckpoint::commit(const std::string& manifest_text, bool sync) {
  auto manifest = File::create(path_ / Manifest::file_name);
  manifest.write_at(manifest_text.data(), manifest_text.size(), 0);
  if (sync) manifest.sync();
  manifest.close();
  if (sync) sync_directory(path_);
  rename_over(path_, folder_ / name_);
  committed_ = true;
  if (sync) sync_directory(folder_);
}

}  // namespace levin::detail
