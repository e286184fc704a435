#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {
namespace detail {
class FlopCounter;
}

/// Lightning's argument of ModelSummary.
struct ModelSummaryConfig {
  int64_t max_depth = 1;
};
LEVIN_CONFIG(ModelSummaryConfig, (max_depth, "levels of submodules to show; -1: all, 0: print nothing", at_least(-1)))
LEVIN_CHOICE(ModelSummaryConfig, "model_summary", "RichModelSummary")

/// A table of a module's submodules, down to a depth (-1: all), with their types, numbers of parameters, and the shapes of their own, and
/// the totals with their size in memory.
std::string summarize(const Module& module, int64_t max_depth = 1);

/// Prints on rank 0: before the training starts the table and the bytes that this rank holds for the training's state; after the first
/// micro-batch its floating-point operations, from the module if it CountsWork, else counted as torch.utils.flop_counter does: those of
/// matrix products, convolutions and fused attention, forward and backward, on this rank.
class ModelSummary : public Callback {
 public:
  using Config = ModelSummaryConfig;
  using Print = std::function<void(const std::string&)>;
  /// Without `print` it goes to the runtime's log.
  explicit ModelSummary(const ModelSummaryConfig& config = {}, Print print = {});
  ~ModelSummary() override;
  void on_fit_start() override;
  void on_train_batch_start(const Batch& batch, int64_t batch_idx) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_exception(const std::string& message) override;

 private:
  void print(const std::string& text);

  ModelSummaryConfig config_;
  Print print_;
  bool counts_ = false;
  std::unique_ptr<detail::FlopCounter> counter_;
};

}  // namespace levin
