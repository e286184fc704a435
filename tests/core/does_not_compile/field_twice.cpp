// Expected: LEVIN_CONFIG(Settings): a field is described twice
#include "levin/core/config.h"

struct Settings {
  int64_t width = 8, height = 8;
};
LEVIN_CONFIG(Settings, (width, "the width"), (width, "the width"))
