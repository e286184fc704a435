#include "run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "../core/file.h"
#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t longest_name = 255;  // limit for file names on Linux

// mkdir is atomic, so two jobs started together do not share a number.
fs::path next_number(const fs::path& parent) {
  fs::create_directories(parent);
  for (int number = 1;; number++) {
    fs::path folder = parent / fmt::format("{:04d}", number);
    if (fs::create_directory(folder)) return folder;
  }
}

// With a checkpoint_dir, on a faster or larger file system, the run's folder gets a link to it.
void place_checkpoints(const fs::path& target, const fs::path& folder) {
  const auto link = folder / "checkpoints";
  fs::create_directories(target);
  if (!fs::is_symlink(link) && !fs::exists(link)) fs::create_directory_symlink(fs::canonical(target), link);
  if (!fs::equivalent(target, link))
    throw ConfigError(
        fmt::format("checkpoint_dir is {}, but the run's checkpoints are in {}", target.string(), fs::canonical(link).string()),
        fmt::format("move them there and remove {}, or leave checkpoint_dir as it was", link.string()), "cli");
}

fs::path make(const RunConfig& config, const fs::path& runs, const std::string& subcommand, RunLock& lock) {
  try {
    const auto named = named_folder(config, runs);
    fs::path folder = named ? *named : next_number(runs);
    if (subcommand != "fit" && fs::exists(folder / "checkpoints")) folder /= subcommand;
    fs::create_directories(folder);
    if (access(folder.c_str(), W_OK | X_OK) != 0)
      throw fs::filesystem_error("cannot write", folder, std::error_code(errno, std::generic_category()));
    lock = RunLock(folder);
    if (subcommand == "fit" && !config.checkpoint_dir.empty()) place_checkpoints(config.checkpoint_dir, folder);
    return folder;
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format("cannot create the run directory {}: {}", error.path1().string(), error.code().message()),
                  "give a writable --run_dir", "cli");
  }
}

}  // namespace

void RunConfig::validate() const {
  const bool blank = run_name.find_first_not_of(" \t") == std::string::npos;
  if (!run_name.empty() && (blank || run_name == "." || run_name == ".." || run_name.find('/') != std::string::npos ||
                            run_name.size() > longest_name || sanitized(run_name) != run_name))
    throw ConfigError(fmt::format("run_name {} is not a valid directory name", quote(run_name)),
                      "give a name without /, or a path as --run_dir");
  if (init_from.empty() && !(init_rename.empty() && init_exclude.empty() && !init_convert_fp8))
    throw ConfigError("init_rename, init_exclude and init_convert_fp8 need init_from, which is empty", "give --init_from, too");
}

std::optional<fs::path> named_folder(const RunConfig& config, const fs::path& runs) {
  if (!config.run_dir.empty()) return config.run_dir;
  if (!config.run_name.empty()) return runs / config.run_name;
  return std::nullopt;
}

RunLock::RunLock(const fs::path& folder) : file_(open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (file_ < 0 || flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;  // some file systems do not support locks
  close(std::exchange(file_, -1));
  throw ConfigError(fmt::format("another job uses {}", folder.string()), "wait until it ends, or give another --run_dir or --run_name",
                    "cli");
}

RunLock::~RunLock() {
  if (file_ >= 0) close(file_);
}

fs::path make_run_folder(MpiRuntime& mpi, const RunConfig& config, const fs::path& runs, const std::string& subcommand, RunLock& lock) {
  auto folder = on_all_ranks(mpi.communicator(), "cli",
                             [&] { return mpi.rank() == 0 ? make(config, runs, subcommand, lock).string() : std::string(); });
  return broadcast_text(mpi.communicator(), std::move(folder));
}

// On disk when it returns: a restart reads these files beside checkpoints that are there, and empty ones would refuse or misplace it.
void write_text(const fs::path& file, const std::string& text) {
  try {
    detail::replace_file(file, text, /*sync=*/true);
  } catch (const IoError& error) {
    const std::string cause = std::string(error.what()).substr(error.tag().size() + 3);  // without "[tag] "
    throw IoError(fmt::format("cannot write {}: {}", file.string(), cause), {}, "cli");
  }
}

}  // namespace levin::cli
