// Expected: a field of Settings is not described
#include "levin/core/config.h"

namespace job {
struct Settings {
  int64_t width = 8;
  std::optional<std::string> name;
  std::vector<double> forgotten;
};
LEVIN_CONFIG(Settings, (width, "the width"), (name, "the name"))
}  // namespace job
