#pragma once
// Names in a checkpoint that StateWriter and StateReader share.
#include <string>

namespace levin::detail {

inline const std::string state_prefix = "state/", rows_of_ranks = ".ranks", loop_state = "loop";

}  // namespace levin::detail
