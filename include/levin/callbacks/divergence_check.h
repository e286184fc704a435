#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

struct DivergenceCheckConfig {
  int64_t every_n_steps = 100;
};
LEVIN_CONFIG(DivergenceCheckConfig, (every_n_steps, "steps between two checks", at_least(1)))
LEVIN_CHOICE(DivergenceCheckConfig, "divergence_check")

/// Compares the replicas of the parameters by checksum, bit by bit, against silent corruption. Each time every rank reads all parameters
/// and hashes them, and a number per parameter is gathered. An Error on all ranks names the first parameter that differs, and the ranks
/// that differ from most. Parameters of which there is one copy only, as under fsdp, have nothing to differ from. Where ranks or hosts send
/// each other the parameters that they update (zero1, zero2, one copy per host), the next update replaces a wrong value, or sends it to
/// all.
class DivergenceCheck : public Callback {
 public:
  using Config = DivergenceCheckConfig;
  explicit DivergenceCheck(const DivergenceCheckConfig& config = {});

  void on_train_start() override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;

  /// Compares now. Collective, between steps.
  void check();

  /// The ranks whose value is not the most frequent one; of equally frequent ones the lowest rank's counts.
  static std::vector<int> outliers(const std::vector<uint64_t>& by_rank);

 private:
  DivergenceCheckConfig config_;
  int64_t last_step_ = -1;
};

}  // namespace levin
