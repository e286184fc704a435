#include "levin/checkpoint/branch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "../core/file.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/core/error.h"
#include "pending_moves.h"

namespace levin {
namespace {

namespace fs = std::filesystem;
using detail::PendingMoves;

constexpr std::string_view abandoned_prefix = "abandoned-";

bool is_real_directory(const fs::path& path) {
  std::error_code unseen;
  return fs::is_directory(fs::symlink_status(path, unseen));
}

std::string next_target(const fs::path& folder) {
  std::error_code unseen;
  for (int number = 1;; number++) {
    auto name = fmt::format("{}{}", abandoned_prefix, number);
    if (!fs::exists(fs::symlink_status(folder / name, unseen))) return name;
  }
}

// Without this check, a user's own directory would move, too.
bool looks_like_checkpoint(const fs::path& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const auto name = entry.path().filename().string();
    if (name == Manifest::file_name || (name.starts_with("state.") && name.ends_with(".h5"))) return true;
  }
  return false;
}

std::vector<std::string> names_to_abandon(const fs::path& folder, std::optional<int64_t> resumed_step) {
  std::vector<std::string> names, valid;
  for (const auto& found : list_checkpoints(folder).checkpoints) {
    valid.push_back(found.path.filename().string());
    if (!resumed_step || found.manifest.step > *resumed_step) names.push_back(valid.back());
  }
  std::error_code error;
  if (!resumed_step)
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const auto name = entry.path().filename().string();
      if (is_checkpoint_name(name) && is_real_directory(entry.path()) && std::find(valid.begin(), valid.end(), name) == valid.end() &&
          looks_like_checkpoint(entry.path()))
        names.push_back(name);
    }
  std::sort(names.begin(), names.end());
  return names;
}

void rewrite_last(const fs::path& folder) {
  const auto listing = list_checkpoints(folder);
  std::error_code unseen;
  if (listing.checkpoints.empty())
    fs::remove(folder / "last", unseen);
  else
    detail::replace_file(folder / "last", listing.checkpoints.back().path.filename().string() + "\n", /*sync=*/true);
}

void move_all(const fs::path& folder, const PendingMoves& moves) {
  const auto target = folder / moves.target;
  std::error_code error;
  fs::create_directory(target, error);
  if (error) detail::throw_io_error(fmt::format("cannot create {}", target.string()), error.value());
  for (const auto& name : moves.names) {
    if (!is_real_directory(folder / name)) continue;  // moved before the process was killed
    if (std::rename((folder / name).c_str(), (target / name).c_str()) != 0)
      detail::throw_io_error(fmt::format("cannot move {} to {}", (folder / name).string(), target.string()), errno);
  }
  detail::sync_directory(target);
  rewrite_last(folder);
  fs::remove(folder / PendingMoves::file_name, error);
  if (error) detail::throw_io_error(fmt::format("cannot remove {}", (folder / PendingMoves::file_name).string()), error.value());
  detail::sync_directory(folder);
}

}  // namespace

namespace detail {

std::optional<PendingMoves> PendingMoves::read(const fs::path& folder) {
  std::error_code unseen;
  if (!fs::exists(fs::symlink_status(folder / file_name, unseen))) return std::nullopt;
  std::string text;
  try {
    const auto file = File::open_to_read(folder / file_name);
    text.resize(std::min<uint64_t>(file.size(), uint64_t{1} << 24));
    file.read_at(text.data(), text.size(), 0);
  } catch (const DataError&) {
    return std::nullopt;
  }
  PendingMoves moves;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    auto line = text.substr(begin, end - begin);
    if (moves.target.empty()) {
      if (!is_abandoned_branch(line)) return std::nullopt;
      moves.target = std::move(line);
    } else if (is_checkpoint_name(line)) {
      moves.names.push_back(std::move(line));
    }
  }
  return moves.target.empty() ? std::nullopt : std::optional(moves);
}

void PendingMoves::write(const fs::path& folder) const {
  std::string text = target + "\n";
  for (const auto& name : names) text += name + "\n";
  replace_file(folder / file_name, text, /*sync=*/true);
}

}  // namespace detail

bool is_abandoned_branch(const std::string& name) {
  return name.starts_with(abandoned_prefix) && name.size() > abandoned_prefix.size() && name.size() <= 30 &&
         name.find_first_not_of("0123456789", abandoned_prefix.size()) == std::string::npos;
}

AbandonedBranch open_branch(const fs::path& folder, std::optional<int64_t> resumed_step) {
  if (const auto pending = PendingMoves::read(folder)) move_all(folder, *pending);
  PendingMoves moves{.target = {}, .names = names_to_abandon(folder, resumed_step)};
  if (moves.names.empty()) return {};
  moves.target = next_target(folder);
  moves.write(folder);
  move_all(folder, moves);
  return {folder / moves.target, moves.names};
}

}  // namespace levin
