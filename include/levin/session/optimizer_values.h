#pragma once
#include <optional>
#include <string>
#include <vector>

#include "levin/optim/lr_schedules.h"

namespace levin {

/// The values that an optimizer will use in the next step, for monitors.
struct OptimizerValues {
  /// Parameters with the same options.
  struct Group {
    double lr = 0;
    std::optional<double> momentum = {};  ///< beta1 where there are betas
    std::optional<double> weight_decay = {};
  };

  std::string name = {};                  ///< of its class: "AdamW"
  bool known = true;                      ///< false for LibTorch's own, of which only learning rates are known
  std::optional<Interval> interval = {};  ///< what its schedule counts
  std::vector<Group> groups = {};
};

}  // namespace levin
