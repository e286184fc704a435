#pragma once
// Components that every program can choose by name.
#include <string>

#include "levin/cli/run.h"

namespace levin::cli {

/// Levin's callbacks and loggers, and the program's own. UsageError where two have one name.
CallbackRegistry known_callbacks(const Program& program);
LoggerRegistry known_loggers(const Program& program);

/// The model summary, the progress bar and, for a run with a folder, checkpoints, unless they are switched off or there is one already.
/// ConfigError where one is named and switched off, or there are several summaries or bars.
void add_default_callbacks(Trainer& trainer, bool has_folder);

}  // namespace levin::cli
