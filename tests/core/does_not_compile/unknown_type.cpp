// Expected: is not a type of a config field
#include "levin/core/config.h"

struct Inner {};
struct Settings {
  Inner inner;
};
LEVIN_CONFIG(Settings, (inner, "not described"))
