#pragma once
#include <string>

#include "levin/trainer/hooks.h"

namespace levin {

class Module;
class Trainer;

/// Acts at the moments of a run; see Hooks. A Trainer attaches it for the length of a run.
class Callback : public Hooks {
 public:
  void attach(Trainer* trainer, Module* module) noexcept { trainer_ = trainer, module_ = module; }
  /// Whether it decides by a metric: then it gets on_train_epoch_end after all others, with the epoch's values in the trainer's report.
  virtual bool monitors() const { return false; }
  /// On the rank whose run ends with an error.
  virtual void on_exception(const std::string& /*message*/) {}

 protected:
  Trainer& trainer() const noexcept { return *trainer_; }
  Module& module() const noexcept { return *module_; }

 private:
  Trainer* trainer_ = nullptr;
  Module* module_ = nullptr;
};

}  // namespace levin
