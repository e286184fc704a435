#pragma once
// What can be chosen by name in every program.
#include <string>

#include "levin/cli/run.h"

namespace levin::cli {

/// Levin's callbacks and loggers, and the program's own. UsageError where two have one name.
CallbackRegistry known_callbacks(const Program& program);
LoggerRegistry known_loggers(const Program& program);

/// The model summary and the progress bar, unless they are switched off or there is one already. ConfigError where one is named and
/// switched off, or there are several.
void add_default_callbacks(Trainer& trainer);

}  // namespace levin::cli
