#pragma once
#include <fmt/format.h>

#include <filesystem>
#include <string_view>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {

/// The folder of a callback's checkpoints: its `dirpath`, or checkpoints in the run's folder. ConfigError, with the callback's name, where
/// neither is known.
inline std::filesystem::path checkpoint_location(const Trainer& trainer, const std::filesystem::path& dirpath, std::string_view callback) {
  if (!dirpath.empty()) return dirpath;
  if (trainer.default_root_dir().empty()) throw ConfigError(fmt::format("{} has no folder", callback), "give a dirpath", "callbacks");
  return trainer.default_root_dir() / "checkpoints";
}

}  // namespace levin::detail
