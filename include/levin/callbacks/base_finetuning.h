#pragma once
#include <cstdint>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's BaseFinetuning: freezes parts of a model before a training and unfreezes them at the beginnings of epochs. A class of a
/// program overrides the two functions, and calls freeze and unfreeze in them, alike on all ranks. Checkpoints keep what is frozen.
class BaseFinetuning : public Callback {
 public:
  void on_fit_start() override { freeze_before_training(); }
  void on_train_epoch_start() override;

 protected:
  virtual void freeze_before_training() = 0;
  virtual void finetune_function(int64_t epoch) = 0;

  /// The parameters of a submodule by its name ("backbone", "encoder.layer0") no longer require a gradient; with `train_bn` those of batch
  /// normalizations still do. ConfigError for a name that no parameter begins with.
  void freeze(const std::string& submodule, bool train_bn = true) { set_requires_grad(submodule, false, train_bn); }
  /// They require one again.
  void unfreeze(const std::string& submodule) { set_requires_grad(submodule, true, false); }

 private:
  void set_requires_grad(const std::string& submodule, bool required, bool spare_batch_norm);
};

struct BackboneFinetuningConfig {
  std::string backbone = "backbone";
  int64_t unfreeze_backbone_at_epoch = 10;
  bool train_bn = true;
  bool verbose = false;
};
LEVIN_CONFIG(BackboneFinetuningConfig, (backbone, "submodule that is frozen at first"),
             (unfreeze_backbone_at_epoch, "epoch, from 0 on, from which it is trained", at_least(0)),
             (train_bn, "train its batch normalizations from the beginning"), (verbose, "say when it is unfrozen"))
LEVIN_CHOICE(BackboneFinetuningConfig, "backbone_finetuning")

/// Trains a model without its backbone at first, and with it from an epoch on. An OptimizerSpec's rules give the backbone its own learning
/// rate.
class BackboneFinetuning : public BaseFinetuning {
 public:
  using Config = BackboneFinetuningConfig;
  explicit BackboneFinetuning(BackboneFinetuningConfig config = {});

 protected:
  void freeze_before_training() override;
  void finetune_function(int64_t epoch) override;

 private:
  BackboneFinetuningConfig config_;
  bool frozen_ = false;
};

}  // namespace levin
