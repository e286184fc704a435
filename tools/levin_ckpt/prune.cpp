#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "arguments.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/retention.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::ckpt {
namespace {

// What the best are by: of all checkpoints the same metric in the same direction.
MonitorMode mode_of(const std::string& given, const std::vector<FoundCheckpoint>& checkpoints) {
  std::set<std::string> monitors, modes;
  for (const auto& checkpoint : checkpoints) {
    const auto& fields = checkpoint.manifest.fields;
    if (!fields.contains("score")) continue;
    monitors.insert(fields.contains("monitor") ? fields.at("monitor") : "nothing");
    if (given.empty() && fields.contains("mode")) modes.insert(fields.at("mode"));
  }
  if (monitors.size() > 1)
    throw ConfigError(fmt::format("the checkpoints have scores of several monitors: {}", joined({monitors.begin(), monitors.end()})),
                      "prune without --best", "checkpoint");
  if (!given.empty()) modes = {given};
  if (monitors.empty() || modes.size() != 1 || (!modes.contains("min") && !modes.contains("max")))
    throw ConfigError(monitors.empty() ? "no checkpoint has a score" : fmt::format("--mode is {}", joined({modes.begin(), modes.end()})),
                      monitors.empty() ? "prune without --best" : "allowed: min, max", "checkpoint");
  return modes.contains("min") ? MonitorMode::min : MonitorMode::max;
}

}  // namespace

int prune(const Words& words) {
  po::options_description options;
  options.add_options()("keep", po::value<std::string>()->required(), "number of the newest to keep")(
      "best", po::value<std::string>()->default_value("0"), "number of the best to keep as well")(
      "mode", po::value<std::string>()->default_value("", ""), "min or max: which scores are better; by default the checkpoints' own")(
      "dry_run", po::bool_switch(), "print the names and remove nothing");
  const auto arguments = read_arguments(words, "prune FOLDER", "removes checkpoints of a folder, all but the newest and the best", options);
  if (!arguments) return 0;
  const int64_t keep = *integer_option(*arguments, "keep"), best = *integer_option(*arguments, "best");
  if (keep < 1 || best < 0)
    throw ConfigError(fmt::format("--keep {} --best {} keeps too few", keep, best), "keep at least 1", "checkpoint");
  const std::filesystem::path folder = arguments->words[0];
  const auto listing = list_checkpoints(folder);
  for (const auto& why : listing.refused) std::cerr << why << "; it is left alone\n";
  if (listing.checkpoints.empty())
    throw ConfigError(fmt::format("{} has no checkpoints", folder.string()), "give a run's folder checkpoints", "checkpoint");

  RetentionPolicy policy{.save_top_k = best, .newest = keep};
  if (best > 0) policy.mode = mode_of(arguments->options["mode"].as<std::string>(), listing.checkpoints);
  std::vector<KeptCheckpoint> checkpoints;
  for (const auto& checkpoint : listing.checkpoints) {
    const auto score = checkpoint.manifest.fields.find("score");
    checkpoints.push_back({checkpoint.path.filename().string(), checkpoint.manifest.step,
                           score == checkpoint.manifest.fields.end() ? std::nullopt : parse_number<double>(score->second)});
  }
  const bool dry_run = arguments->options["dry_run"].as<bool>();
  for (const auto& name : checkpoints_to_remove(checkpoints, policy)) {
    if (!dry_run) remove_checkpoint(folder / name);
    std::cout << (dry_run ? "would remove " : "removed ") << name << "\n";
  }
  return 0;
}

}  // namespace levin::ckpt
