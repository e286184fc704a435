#include "levin/callbacks/on_exception_checkpoint.h"

#include <fmt/format.h>

#include "checkpoint_location.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin {

// NOLINTNEXTLINE(bugprone-throw-keyword-missing): it takes the config for an exception
OnExceptionCheckpoint::OnExceptionCheckpoint(OnExceptionCheckpointConfig config) : config_(std::move(config)) {
  check_config(config_);
  const auto& name = config_.filename;
  if (!is_checkpoint_name(name))
    throw ConfigError(fmt::format("an OnExceptionCheckpoint's filename is \"{}\"", name), "give the name of a directory, without a path",
                      "callbacks");
}

void OnExceptionCheckpoint::setup(Stage stage) {
  if (stage != Stage::fit || trainer().config().fast_dev_run.batches > 0) return;
  const auto folder = detail::checkpoint_location(trainer(), config_.dirpath, "an OnExceptionCheckpoint");
  trainer().checkpoints().request_on_exception({.folder = folder, .name = config_.filename});
}

}  // namespace levin
