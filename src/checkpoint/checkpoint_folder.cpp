#include "levin/checkpoint/checkpoint_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <tuple>

#include "commit.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "pending_moves.h"

namespace levin {
namespace {

namespace fs = std::filesystem;
using detail::File;

bool is_older_than(const fs::path& path, std::chrono::seconds age) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  return !error && fs::file_time_type::clock::now() - time > age;
}

// No process writes the directory: the lock of its first file is free, or the file does not exist. A process that is about to create that
// file notices the removal and retries.
bool is_abandoned_write(const fs::path& directory) {
  auto file = directory / Manifest::state_file(0, 1);
  std::error_code unseen;
  if (!fs::exists(fs::symlink_status(file, unseen))) file = directory / Manifest::state_file(0, 2);
  if (fs::symlink_status(file, unseen).type() == fs::file_type::not_found) return true;
  try {
    const auto lock = detail::try_lock(File::open_to_write(file));
    return lock == detail::Lock::taken || (lock == detail::Lock::impossible && is_older_than(directory, std::chrono::hours(24)));
  } catch (const Error&) {
    return is_older_than(directory, std::chrono::hours(24));
  }
}

bool is_whole(const fs::path& checkpoint) {
  try {
    const auto manifest = Manifest::read(checkpoint);
    return std::all_of(manifest.files.begin(), manifest.files.end(),
                       [&](const auto& file) { return File::open_to_read(checkpoint / file.name).size() == file.bytes; });
  } catch (const DataError&) {
    return false;
  }
}

// A process was killed while it replaced a checkpoint without RENAME_EXCHANGE: the old one gets its name back, unless the new one has it.
// True if the directory must stay, under either name.
bool restore_replaced(const fs::path& path) {
  const auto hidden = path.filename().string();
  const auto mark = hidden.rfind(detail::partial_mark);
  if (!hidden.starts_with('.') || !hidden.ends_with(detail::replaced_mark) || mark == std::string::npos || mark == 0) return false;
  const auto name = hidden.substr(1, mark - 1);
  const auto replacement = path.parent_path() / hidden.substr(0, hidden.size() - detail::replaced_mark.size());
  std::error_code unseen;
  if (!is_checkpoint_name(name) || !fs::is_directory(fs::symlink_status(path, unseen)) || !is_whole(path)) return false;
  if (fs::exists(fs::symlink_status(replacement, unseen)) && !is_abandoned_write(replacement)) return true;
  // A rename never replaces a directory that has entries.
  return std::rename(path.c_str(), (path.parent_path() / name).c_str()) == 0 || (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR);
}

void add_checkpoints(const fs::path& folder, CheckpointListing& listing) {
  std::error_code error, unseen;
  const auto pending = detail::PendingMoves::read(folder);
  auto paths = detail::list_directory(folder, error);
  // Another rank may restore it first.
  const auto is_replaced = [](const fs::path& path) { return path.filename().string().ends_with(detail::replaced_mark); };
  if (const auto first = std::find_if(paths.begin(), paths.end(), is_replaced); first != paths.end()) {
    std::for_each(first, paths.end(), restore_replaced);
    paths = detail::list_directory(folder, error);
  }
  // A run must not start over because its checkpoints cannot be listed or read.
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
    throw IoError(fmt::format("cannot list the checkpoints in {}: {}", folder.string(), error.message()), "make the directory readable",
                  "checkpoint");
  for (const auto& path : paths) {
    const auto status = fs::symlink_status(path, unseen);
    const auto name = path.filename().string();
    if (!is_checkpoint_name(name)) continue;
    if (status.type() == fs::file_type::none)
      detail::throw_io_error(fmt::format("cannot stat {}", path.string()), unseen.value(), "checkpoint", detail::Access::read);
    if (!fs::is_directory(status)) continue;
    if (pending && std::find(pending->names.begin(), pending->names.end(), name) != pending->names.end()) continue;
    try {
      listing.checkpoints.push_back({path, Manifest::read(path)});
    } catch (const DataError& refused) {
      listing.refused.emplace_back(refused.what());
    }
  }
}

}  // namespace

bool is_checkpoint_name(const std::string& name) {
  return !name.empty() && name.size() <= 200 && !name.starts_with('.') && name.find('/') == std::string::npos &&
         name.find('\n') == std::string::npos && first_bad_byte(name) == std::string::npos && name != "last" &&
         !name.starts_with("abandoned-");
}

CheckpointListing list_checkpoints(const fs::path& folder) { return list_checkpoints(std::vector{folder}); }

CheckpointListing list_checkpoints(const std::vector<fs::path>& folders) {
  CheckpointListing listing;
  for (const auto& folder : folders) add_checkpoints(folder, listing);
  const auto age = [](const FoundCheckpoint& checkpoint) {
    return std::tuple(checkpoint.manifest.step, checkpoint.manifest.saved_at, checkpoint.path);
  };
  std::sort(listing.checkpoints.begin(), listing.checkpoints.end(), [&](const auto& a, const auto& b) { return age(a) < age(b); });
  std::sort(listing.refused.begin(), listing.refused.end());
  return listing;
}

void remove_checkpoint(const fs::path& checkpoint) {
  const auto old =
      checkpoint.parent_path() / fmt::format(".{}{}{}-removed", checkpoint.filename().string(), detail::partial_mark, getpid());
  std::error_code error;
  fs::remove_all(old, error);
  fs::rename(checkpoint, old, error);
  if (!error) fs::remove_all(old, error);
  if (error) detail::throw_io_error(fmt::format("cannot remove {}", checkpoint.string()), error.value());
}

std::vector<std::string> remove_leftovers(const fs::path& folder) {
  std::vector<std::string> removed;
  std::error_code error, unseen;
  for (const auto& path : detail::list_directory(folder, error)) {
    const auto name = path.filename().string();
    if (!name.starts_with('.') || name.find(detail::partial_mark) == std::string::npos) continue;
    if (restore_replaced(path)) continue;
    const auto status = fs::symlink_status(path, unseen);
    const bool abandoned =
        fs::is_directory(status) ? is_abandoned_write(path) : fs::is_regular_file(status) && is_older_than(path, std::chrono::minutes(1));
    if (abandoned && fs::remove_all(path, unseen) > 0) removed.push_back(name);
  }
  std::sort(removed.begin(), removed.end());
  return removed;
}

std::optional<fs::path> read_last(const fs::path& folder) {
  std::string name;
  try {
    const auto file = File::open_to_read(folder / "last");
    name.resize(std::min<uint64_t>(file.size(), 256));
    file.read_at(name.data(), name.size(), 0);
  } catch (const Error&) {
    return std::nullopt;
  }
  if (name.ends_with('\n')) name.pop_back();
  std::error_code unseen;
  if (!is_checkpoint_name(name) || !fs::is_directory(fs::symlink_status(folder / name, unseen))) return std::nullopt;
  return folder / name;
}

fs::path follow_last(const fs::path& path) {
  std::error_code unseen;
  if (path.filename() != "last" || !fs::is_regular_file(fs::symlink_status(path, unseen))) return path;
  if (const auto checkpoint = read_last(path.parent_path())) return *checkpoint;
  throw DataError(fmt::format("{} names no checkpoint of its folder", path.string()), "give the checkpoint's folder", "checkpoint");
}

}  // namespace levin
