#pragma once
// Callbacks and loggers that every program offers by name.
#include <string>

#include "levin/cli/run.h"

namespace levin::cli {

/// Levin's callbacks and loggers, and the program's own. UsageError for a duplicate name.
CallbackRegistry known_callbacks(const Program& program);
LoggerRegistry known_loggers(const Program& program);
ProfilerRegistry known_profilers(const Program& program);

/// Adds the model summary, the progress bar and, for a run with a folder, checkpoints and the writer of predictions, unless switched off or
/// already present. ConfigError
/// if one is configured and switched off, or if several summaries or progress bars are configured.
void add_default_callbacks(Trainer& trainer, bool has_folder);

}  // namespace levin::cli
