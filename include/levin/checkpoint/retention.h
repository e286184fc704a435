#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/monitor_mode.h"

namespace levin {

/// A checkpoint, as the decision about keeping it sees it.
struct KeptCheckpoint {
  std::string name;
  int64_t step = 0;
  std::optional<double> score;  ///< of the monitored metric
};

struct RetentionPolicy {
  int64_t save_top_k = 1;                 ///< how many of the best are kept; -1: all
  MonitorMode mode = MonitorMode::min;    ///< which scores are better
  int64_t newest = 2;                     ///< of the newest, whatever save_top_k says: one may turn out to be damaged
  std::vector<std::string> protect = {};  ///< names that stay
};

/// The names of the checkpoints that are to be removed. Best is the best score, a NaN the worst; of those without a score, and of equal
/// ones, the later step.
std::vector<std::string> checkpoints_to_remove(const std::vector<KeptCheckpoint>& checkpoints, const RetentionPolicy& policy);

}  // namespace levin
