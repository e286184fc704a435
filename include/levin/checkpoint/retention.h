#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/monitor_mode.h"

namespace levin {

/// What retention needs to know of a checkpoint.
struct KeptCheckpoint {
  std::string name;
  int64_t step = 0;
  std::optional<double> score;  ///< value of the monitored metric
};

struct RetentionPolicy {
  int64_t save_top_k = 1;                 ///< number of best checkpoints to keep; -1: all
  MonitorMode mode = MonitorMode::min;    ///< whether lower or higher scores are better
  int64_t newest = 2;                     ///< number of newest checkpoints to keep in any case: one may prove corrupt
  std::vector<std::string> protect = {};  ///< names of checkpoints to keep in any case
};

/// The names of the checkpoints to remove. Ranking, best first: by score, then checkpoints without a score, then NaN scores; ties go to the
/// later step.
std::vector<std::string> checkpoints_to_remove(const std::vector<KeptCheckpoint>& checkpoints, const RetentionPolicy& policy);

/// The most checkpoints that a policy leaves; -1: all. `scored`: they have scores.
int64_t most_kept(const RetentionPolicy& policy, bool scored);

}  // namespace levin
