#include "stalled_loaders.h"

#include <atomic>
#include <chrono>

namespace levin::detail {
namespace {

std::atomic<bool> stalled{false};

}  // namespace

void end_loader(std::unique_ptr<Loader> loader) {
  if (!loader || loader->stop_reading(std::chrono::seconds(2))) return;
  stalled = true;
  static_cast<void>(loader.release());
}

bool has_stalled_loaders() noexcept { return stalled; }

}  // namespace levin::detail
