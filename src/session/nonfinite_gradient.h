#pragma once
#include "levin/core/error.h"

namespace levin::detail {

/// The mean gradient of a step is not finite, and a training cannot continue with it. Thrown on all ranks.
class NonfiniteGradient : public Error {
 public:
  using Error::Error;
};

}  // namespace levin::detail
