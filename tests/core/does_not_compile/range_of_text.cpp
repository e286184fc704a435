// Expected: a modifier does not fit the type of its field
#include "levin/core/config.h"

struct Settings {
  std::string name;
};
LEVIN_CONFIG(Settings, (name, "the name", at_least(1)))
