#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's argument of ModelSummary.
struct ModelSummaryConfig {
  int64_t max_depth = 1;
};
LEVIN_CONFIG(ModelSummaryConfig, (max_depth, "levels of submodules to show; -1: all, 0: print nothing", at_least(-1)))
LEVIN_CHOICE(ModelSummaryConfig, "model_summary", "RichModelSummary")

/// A table of a module's submodules, down to a depth (-1: all), with their types and numbers of parameters, and the totals with their size
/// in memory.
std::string summarize(const Module& module, int64_t max_depth = 1);

/// Prints the table before the training starts, on rank 0.
class ModelSummary : public Callback {
 public:
  using Config = ModelSummaryConfig;
  using Print = std::function<void(const std::string&)>;
  /// Without `print` it goes to the runtime's log.
  explicit ModelSummary(const ModelSummaryConfig& config = {}, Print print = {});
  void on_fit_start() override;

 private:
  ModelSummaryConfig config_;
  Print print_;
};

}  // namespace levin
