#pragma once
#include "levin/trainer/hooks.h"

namespace levin {

class Module;
class Trainer;

/// Acts at the moments of a run; see Hooks. A Trainer attaches it for the length of a run.
class Callback : public Hooks {
 public:
  /// Whether it reads metrics: its on_train_epoch_end then comes after the module's, when the epoch's values are in the trainer's report.
  virtual bool monitors() const noexcept { return false; }

  void attach(Trainer* trainer, Module* module) noexcept { trainer_ = trainer, module_ = module; }

 protected:
  Trainer& trainer() const noexcept { return *trainer_; }
  Module& module() const noexcept { return *module_; }

 private:
  Trainer* trainer_ = nullptr;
  Module* module_ = nullptr;
};

}  // namespace levin
