#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cut.h"
#include "schema.h"

namespace levin::exported {

/// Which submodules are units, and both programs cut into them.
struct UnitChoice {
  std::vector<std::string> units;     ///< paths, in the order of their first call
  std::vector<std::string> problems;  ///< of the default patterns
  Cut train, eval;
};
/// ConfigError for patterns that fit no submodule, or one that cannot be a unit. Without patterns: those that the archive suggests, else
/// the longest list of submodules; what cannot be a unit is reported in `problems`.
UnitChoice choose_units(const Model& model, const std::optional<std::vector<std::string>>& patterns);

}  // namespace levin::exported
