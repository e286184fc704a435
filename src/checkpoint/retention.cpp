#include "levin/checkpoint/retention.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace levin {

std::vector<std::string> checkpoints_to_remove(const std::vector<KeptCheckpoint>& checkpoints, const RetentionPolicy& policy) {
  if (policy.save_top_k < 0) return {};
  auto sorted = checkpoints;
  std::set<std::string> kept(policy.protect.begin(), policy.protect.end());
  const auto keep_first = [&](int64_t count) {
    for (int64_t i = 0; i < count && i < static_cast<int64_t>(sorted.size()); i++) kept.insert(sorted[static_cast<size_t>(i)].name);
  };

  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  keep_first(policy.newest);
  // 0: has a score, 1: has none, 2: NaN. The stable sort keeps the later step first among ties.
  const auto score_class = [](const KeptCheckpoint& checkpoint) { return !checkpoint.score ? 1 : std::isnan(*checkpoint.score) ? 2 : 0; };
  std::stable_sort(sorted.begin(), sorted.end(), [&](const KeptCheckpoint& a, const KeptCheckpoint& b) {
    if (const int class_a = score_class(a), class_b = score_class(b); class_a != class_b) return class_a < class_b;
    if (score_class(a) != 0) return false;
    return policy.mode == MonitorMode::min ? *a.score < *b.score : *a.score > *b.score;
  });
  keep_first(policy.save_top_k);

  std::vector<std::string> removed;
  for (const auto& checkpoint : checkpoints)
    if (!kept.contains(checkpoint.name)) removed.push_back(checkpoint.name);
  return removed;
}

int64_t most_kept(const RetentionPolicy& policy, bool scored) {
  if (policy.save_top_k < 0) return -1;
  // Without scores the best are the newest.
  return scored ? policy.newest + policy.save_top_k : std::max(policy.newest, policy.save_top_k);
}

}  // namespace levin
