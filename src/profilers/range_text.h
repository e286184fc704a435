#pragma once
#include <string>

#include "levin/core/profile_range.h"

namespace levin::detail {

/// "Classifier.training_step", "all_reduce for unit \"encoder\"", "validation": how profilers show a range. Assigned to `text`, whose
/// memory is reused; control characters become blanks.
void describe_range(const RangeName& range, std::string& text);

}  // namespace levin::detail
