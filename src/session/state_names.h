#pragma once
// Names in a checkpoint that StateWriter and StateReader share.
#include <string>

namespace levin::detail {

inline const std::string state_prefix = "state/", rows_of_ranks = ".ranks", loop_state = "loop";
/// Of a training with averages: the model is one of the two, and the other has this prefix. See AveragedParameters.
inline const std::string model_prefix = "model/", current_prefix = "current_model/", average_prefix = "average_model/";
inline const std::string averages_state = "averages", averages_updates = "updates";

}  // namespace levin::detail
