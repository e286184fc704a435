#pragma once
#include <memory>

#include "levin/data/loader.h"

namespace levin::detail {

/// Destroys a loader whose threads end their reads within two seconds. Another one stays for ever: its reads use it.
void end_loader(std::unique_ptr<Loader> loader);
/// Whether end_loader has kept one, so that a thread may still read when the process ends.
bool has_stalled_loaders() noexcept;

}  // namespace levin::detail
