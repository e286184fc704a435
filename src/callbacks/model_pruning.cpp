#include "levin/callbacks/model_pruning.h"

#include <fmt/format.h>

#include <utility>

#include "levin/core/error.h"
#include "levin/core/mix_seed.h"
#include "levin/trainer/trainer.h"
#include "pruning_masks.h"

namespace levin {

void ModelPruningConfig::validate() const {
  if (parameters_to_prune.empty())
    throw ConfigError("model pruning without parameters_to_prune", "give patterns such as [\"*weight\"]", "callbacks");
  if (!detail::is_structured(pruning_fn)) return;
  if (use_global_unstructured)
    throw ConfigError(fmt::format("{} with use_global_unstructured", enum_name(pruning_fn)),
                      "slices are pruned in each parameter: set it to false", "callbacks");
  if (!pruning_dim || *pruning_dim < 0)
    throw ConfigError(fmt::format("{} without a pruning_dim", enum_name(pruning_fn)), "give one, such as 0", "callbacks");
  if (pruning_fn == PruningMethod::ln_structured && !pruning_norm)
    throw ConfigError("ln_structured without a pruning_norm", "give one, such as 2", "callbacks");
}

ModelPruning::ModelPruning(const ModelPruningConfig& config) : config_(config) { check_config(config_); }
ModelPruning::~ModelPruning() = default;

void ModelPruning::setup(Stage) {
  masks_.reset();
  last_step_ = -1;
}

// A state that was loaded has made the masks.
void ModelPruning::on_fit_start() {
  if (!masks_) masks_ = std::make_unique<detail::PruningMasks>(trainer().session(), config_);
}

void ModelPruning::on_before_optimizer_step(std::string_view optimizer) {
  auto& session = trainer().session();
  if (masks_ && masks_->any() && !optimizer.empty()) masks_->apply_to_gradients(session.optimizer_index(optimizer));
}

void ModelPruning::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (std::exchange(last_step_, step) != step && masks_->any()) masks_->apply();
}

void ModelPruning::on_train_epoch_end() {
  const auto [done, total] = trainer().batch_progress();
  const bool complete = total > 0 && done == total;  // one that max_steps cuts short resumes
  if (complete && should_prune(trainer().current_epoch())) prune(trainer().current_epoch());
}

void ModelPruning::prune(int64_t epoch) {
  auto& session = trainer().session();
  masks_->prune(amount(epoch), mix_seed(session.seed() ^ mix_bits(static_cast<uint64_t>(epoch))));
  const int64_t count = masks_->pruned(), all = masks_->numel();
  trainer().log_metrics({{"pruned", static_cast<double>(count) / static_cast<double>(all)}});
  session.runtime().log().info("[callbacks] {} of {} elements are pruned", count, all);
  if (config_.verbose) masks_->report(session.runtime().log());
}

int64_t ModelPruning::pruned() { return masks_ ? masks_->pruned() : 0; }
int64_t ModelPruning::prunable() const noexcept { return masks_ ? masks_->numel() : 0; }

StateDict ModelPruning::state_dict() const { return masks_ ? masks_->state() : StateDict(); }

void ModelPruning::load_state_dict(const StateDict& state) {
  masks_ = std::make_unique<detail::PruningMasks>(trainer().session(), config_);
  masks_->load(state);
}

}  // namespace levin
