#include "levin/callbacks/base_finetuning.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "batch_norm_layers.h"
#include "levin/core/error.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

// Of batch normalizations.
std::set<const void*> norm_parameters(const Module& module) {
  std::set<const void*> parameters;
  for (const auto& part : module.modules())
    if (detail::is_batch_norm(*part))
      for (const auto& parameter : part->parameters(/*recurse=*/false)) parameters.insert(parameter.unsafeGetTensorImpl());
  return parameters;
}

}  // namespace

void BaseFinetuning::on_train_epoch_start() { finetune_function(trainer().current_epoch()); }

void BaseFinetuning::set_requires_grad(const std::string& submodule, bool required, bool spare_batch_norm) {
  const auto spared = spare_batch_norm ? norm_parameters(module()) : std::set<const void*>();
  bool found = false;
  for (auto& item : module().named_parameters()) {
    if (!item.key().starts_with(submodule + ".")) continue;
    found = true;
    if (!spared.contains(item.value().unsafeGetTensorImpl())) item.value().set_requires_grad(required);
  }
  if (!found)
    throw ConfigError(fmt::format("the model has no parameter in a submodule \"{}\"", submodule), "give the name of a submodule",
                      "callbacks");
}

BackboneFinetuning::BackboneFinetuning(BackboneFinetuningConfig config) : config_(std::move(config)) { check_config(config_); }

void BackboneFinetuning::freeze_before_training() {
  freeze(config_.backbone, config_.train_bn);
  frozen_ = true;
}

void BackboneFinetuning::finetune_function(int64_t epoch) {
  if (!frozen_ || epoch < config_.unfreeze_backbone_at_epoch) return;
  frozen_ = false;
  unfreeze(config_.backbone);
  if (config_.verbose) trainer().session().runtime().log().info("[callbacks] {} is trained from epoch {} on", config_.backbone, epoch);
}

}  // namespace levin
