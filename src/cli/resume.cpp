#include "resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "../core/file.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/log.h"
#include "levin/core/number_text.h"
#include "levin/session/load_from.h"
#include "run_folder.h"
#include "run_record.h"

namespace levin::cli {
namespace {

namespace fs = std::filesystem;

bool within(const std::string& path, const std::string& group) {
  return path == group || (path.starts_with(group) && path.size() > group.size() && path[group.size()] == '.');
}

bool changes_the_meaning(const std::string& path) {
  static constexpr const char* parts[] = {
      "model", "data", "optimizer", "lr_scheduler", "trainer.precision", "trainer.accumulate_grad_batches", "seed_everything"};
  static constexpr const char* harmless[] = {"data.num_workers", "data.prefetch_factor",  "data.pin_memory", "data.batch_size",
                                             "data.chunk_cache", "data.global_batch_size"};  // the trainer compares their effect
  const auto is_in = [&](const char* group) { return within(path, group); };
  return std::any_of(std::begin(parts), std::end(parts), is_in) && std::none_of(std::begin(harmless), std::end(harmless), is_in);
}

// The best by score; the manifest of a checkpoint has its score and the direction.
fs::path best_in(const std::vector<fs::path>& folders) {
  const FoundCheckpoint* best = nullptr;
  double best_score = 0;
  const auto listing = list_checkpoints(folders);
  for (const auto& checkpoint : listing.checkpoints) {
    const auto score = checkpoint.manifest.fields.find("score"), mode = checkpoint.manifest.fields.find("mode");
    if (score == checkpoint.manifest.fields.end() || mode == checkpoint.manifest.fields.end()) continue;
    const double value = parse_number<double>(score->second).value_or(std::numeric_limits<double>::quiet_NaN());
    if (best && !(mode->second == "min" ? value <= best_score : value >= best_score)) continue;
    if (value == value) best = &checkpoint, best_score = value;
  }
  return best ? best->path : fs::path();
}

void log_refused(const NewestCheckpoint& newest, const Communicator& communicator, const Log& log) {
  for (const auto& why : newest.refused)
    if (communicator.rank() == 0) log.warning("[checkpoint] skipped: {}", why);
}

// Only rank 0 looks for checkpoints: the ranks' hosts may see a file system differently after a restart, and thousands of readers would
// overload it. Returns its path, or throws its error, on all ranks.
template <class Look>
fs::path on_first_rank(Communicator& communicator, const Look& look) {
  return broadcast_text(communicator, on_all_ranks(communicator, "checkpoint",
                                                   [&] { return communicator.rank() == 0 ? fs::path(look()).string() : std::string(); }));
}

NewestCheckpoint newest_of_run(const fs::path& run_folder, Communicator& communicator, const CheckpointReaderOptions& options,
                               const std::vector<fs::path>& passed_over = {}) {
  // newest_checkpoint uses rank 0's folders.
  const auto folders = on_all_ranks(communicator, "checkpoint",
                                    [&] { return communicator.rank() == 0 ? checkpoint_folders(run_folder) : std::vector<fs::path>(); });
  return newest_checkpoint(folders, communicator, options, passed_over);
}

bool is_in_file_system(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error && error != std::errc::filename_too_long)
    detail::throw_io_error(fmt::format("cannot stat {}", path.string()), error.value(), "checkpoint", detail::Access::read);
  return found;
}

}  // namespace

bool is_ckpt_word(const std::string& ckpt_path) {
  return ckpt_path == "auto" || ckpt_path == "last" || ckpt_path == "best" || ckpt_path == "none";
}

std::string effective_ckpt_path(const RunConfig& config, const std::string& subcommand) {
  if (!config.ckpt_path.empty()) return config.ckpt_path;
  return subcommand == "fit" && named_folder(config, "") ? "auto" : "none";
}

std::optional<fs::path> config_of_the_run(const RunConfig& config, const fs::path& runs, const std::string& subcommand) {
  const auto path = effective_ckpt_path(config, subcommand);
  if (path == "none") return std::nullopt;
  auto folder = named_folder(config, runs);
  if (!is_ckpt_word(path) && !(folder && holds_checkpoint(*folder, path))) folder = fs::path(path).parent_path().parent_path();
  if (!folder) return std::nullopt;
  std::error_code unseen;
  const auto file = *folder / "config.yaml";
  return !list_checkpoints(checkpoint_folders(*folder)).checkpoints.empty() && fs::exists(file, unseen) ? std::optional(file)
                                                                                                        : std::nullopt;
}

bool taken_over(const std::string& key, const std::string& subcommand) {
  if (subcommand != "fit") return key == "model" || key == "data" || key == "trainer.precision";
  static constexpr const char* of_this_attempt[] = {"run_dir", "run_name", "ckpt_path", "ckpt_strict", "resume_allow", "job"};
  return std::none_of(std::begin(of_this_attempt), std::end(of_this_attempt), [&](const char* prefix) { return within(key, prefix); });
}

std::unique_ptr<CheckpointReader> find_checkpoint(const std::string& ckpt_path, const std::optional<fs::path>& run_folder,
                                                  Communicator& communicator, const Log& log) {
  if (ckpt_path == "none" || (ckpt_path == "auto" && !run_folder)) return nullptr;
  if (!run_folder && (ckpt_path == "last" || ckpt_path == "best"))
    throw ConfigError(fmt::format("--ckpt_path {} needs a run", ckpt_path), "give the run's --run_dir or --run_name", "checkpoint");
  const auto folder = run_folder.value_or("") / "checkpoints";
  if (ckpt_path == "auto" || ckpt_path == "last") {
    auto newest = newest_of_run(*run_folder, communicator, {.verify_on_read = read_once_by_trainers()});
    log_refused(newest, communicator, log);
    if (!newest.reader && ckpt_path == "last")
      throw ConfigError(fmt::format("--ckpt_path last: {} has no checkpoint", folder.string()),
                        "give the --run_dir or --run_name of a run with checkpoints", "checkpoint");
    return std::move(newest.reader);
  }
  const auto checkpoint = on_first_rank(communicator, [&] {
    const fs::path path = ckpt_path == "best" ? best_in(checkpoint_folders(*run_folder)) : fs::path(ckpt_path);
    if (path.empty())
      throw ConfigError(fmt::format("--ckpt_path best: no checkpoint in {} has a score", folder.string()),
                        "give the ModelCheckpoint a monitor, or use --ckpt_path last", "checkpoint");
    if (!is_in_file_system(path))
      throw ConfigError(fmt::format("--ckpt_path {} does not exist", path.string()), "give a checkpoint's folder, auto, last, best or none",
                        "checkpoint");
    return follow_last(path);
  });
  return std::make_unique<CheckpointReader>(checkpoint, communicator, CheckpointReaderOptions{.verify_on_read = read_once_by_trainers()});
}

std::unique_ptr<CheckpointReader> another_checkpoint(const std::string& ckpt_path, const std::optional<fs::path>& run_folder,
                                                     const fs::path& corrupt, const std::string& why, Communicator& communicator,
                                                     const Log& log) {
  if (ckpt_path != "auto" && ckpt_path != "last") return nullptr;
  auto newest = newest_of_run(run_folder.value_or(""), communicator, {}, {corrupt});  // verified fully
  log_refused(newest, communicator, log);
  if (!newest.reader)
    throw DataError(fmt::format("{} has no intact checkpoint; the newest is corrupt: {}", corrupt.parent_path().string(), why),
                    "start over with --ckpt_path none", "checkpoint");
  return std::move(newest.reader);
}

std::unique_ptr<TensorSource> open_init_from(const fs::path& init_from, Communicator& communicator, bool convert_fp8) {
  if (init_from.empty()) return nullptr;
  on_first_rank(communicator, [&] {
    if (!is_in_file_system(init_from))
      throw ConfigError(fmt::format("--init_from {} does not exist", init_from.string()),
                        "give a checkpoint's folder or a safetensors file", "checkpoint");
    return init_from;
  });
  return open_tensor_source(init_from, &communicator, convert_fp8);
}

void compare_configs(const ConfigValue& before, const ConfigValue& current, const std::vector<std::string>& allowed, const Log& log) {
  std::map<std::string, std::pair<std::string, std::string>> both;
  for (auto& [path, text] : flatten(before)) both[path].first = text;
  for (auto& [path, text] : flatten(current)) both[path].second = text;
  std::vector<std::string> refused;
  for (const auto& [path, texts] : both) {
    const auto& [previous_text, current_text] = texts;
    if (previous_text == current_text || !taken_over(path, "fit")) continue;
    const auto difference = fmt::format("{}: {} before, {} now", path, previous_text.empty() ? "nothing" : previous_text,
                                        current_text.empty() ? "nothing" : current_text);
    const bool is_allowed = !changes_the_meaning(path) ||
                            std::any_of(allowed.begin(), allowed.end(), [&p = path](const auto& group) { return within(p, group); });
    if (is_allowed)
      log.info("[cli] {}", difference);
    else
      refused.push_back(difference);
  }
  if (!refused.empty())
    throw ConfigError(fmt::format("options that define the run have changed: {}", fmt::join(refused, "; ")),
                      "give another --run_name or --run_dir, or allow the change with --resume_allow", "cli");
}

}  // namespace levin::cli
