#pragma once
#include <fmt/format.h>

#include <string_view>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {

/// For a callback that only logs. ConfigError, with its name ("a throughput monitor"), in a run that logs nothing.
inline void require_logger(const Trainer& trainer, std::string_view callback) {
  const auto& options = trainer.config();
  if (options.logger.enabled() || options.fast_dev_run.batches > 0) return;
  throw ConfigError(fmt::format("{} in a run that logs nothing", callback),
                    fmt::format("leave it out, or {}", options.barebones ? "barebones" : "set trainer.logger to true"), "callbacks");
}

}  // namespace levin::detail
