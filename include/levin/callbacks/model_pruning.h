#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/limit.h"
#include "levin/trainer/callback.h"

namespace levin {
namespace detail {
class PruningMasks;
}

/// What is pruned: the elements, or the slices along a dimension, with the least absolute value or norm, or any (torch.nn.utils.prune).
enum class PruningMethod { l1_unstructured, random_unstructured, ln_structured, random_structured };
LEVIN_ENUM(PruningMethod, (l1_unstructured, "l1_unstructured"), (random_unstructured, "random_unstructured"),
           (ln_structured, "ln_structured"), (random_structured, "random_structured"))

/// Lightning's arguments of ModelPruning; parameters are given by patterns of their names.
struct ModelPruningConfig {
  PruningMethod pruning_fn = PruningMethod::l1_unstructured;
  std::vector<std::string> parameters_to_prune = {"*weight", "*bias"};
  Limit amount = Limit::fraction(0.5);
  bool use_global_unstructured = true;
  bool apply_pruning = true;
  bool use_lottery_ticket_hypothesis = true;
  std::optional<int64_t> pruning_dim = {};
  std::optional<double> pruning_norm = {};
  bool verbose = false;

  void validate() const;
};
LEVIN_CONFIG(ModelPruningConfig, (pruning_fn, "what is pruned"),
             (parameters_to_prune, "patterns of the names of parameters: * is any text, ? one character"),
             (amount, "part (0.5) or number (10) of the elements or slices left, pruned after each epoch"),
             (use_global_unstructured, "compare the elements of all parameters together, not of each by itself"),
             (apply_pruning, "prune after epochs; false: keep what a resumed training has pruned"),
             (use_lottery_ticket_hypothesis, "give the elements that are left their first values after pruning"),
             (pruning_dim, "dimension whose slices a structured method prunes"),
             (pruning_norm, "n of the norm of ln_structured; .inf: the largest absolute value", infinite_allowed),
             (verbose, "log what is left of each parameter"))
LEVIN_CHOICE(ModelPruningConfig, "model_pruning")

/// Prunes parameters after each epoch of a training, as Lightning's: `amount` of what is left. Masks are exact under every strategy, with
/// sharded parameters, too: thresholds are of all ranks. Ties between equal values go by position, so that the result does not depend on
/// the number of ranks; torch leaves them open. Gradients of pruned elements are zero, and after every step they are zero again, whatever
/// the optimizer does; that takes a pass over the parameters, and publishes them once more. Checkpoints have the masks. Random methods
/// draw from the seed and the epoch. Parameters that no optimizer trains are left out. A number as amount prunes what is left at most.
/// ConfigError, before the first step, for patterns that match nothing, for slices of parameters that lack the dimension, and for a number
/// that exceeds what there is.
class ModelPruning : public Callback {
 public:
  using Config = ModelPruningConfig;
  explicit ModelPruning(const ModelPruningConfig& config = {});
  ~ModelPruning() override;

  void setup(Stage stage) override;
  void on_fit_start() override;
  void on_before_optimizer_step(std::string_view optimizer) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end() override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  /// Pruned elements of all parameters, and how many there are. Collective.
  int64_t pruned();
  int64_t prunable() const noexcept;

 protected:
  /// Whether to prune after this epoch, and how much. The same on all ranks.
  virtual bool should_prune(int64_t /*epoch*/) const { return config_.apply_pruning; }
  virtual Limit amount(int64_t /*epoch*/) const { return config_.amount; }

 private:
  void prune(int64_t epoch);

  ModelPruningConfig config_;
  std::unique_ptr<detail::PruningMasks> masks_;
  int64_t last_step_ = -1;
};

}  // namespace levin
