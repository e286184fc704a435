#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/session/state_dict.h"
#include "levin/trainer/hooks.h"

namespace levin {

class Module;
class Trainer;

/// Acts at the moments of a run; see Hooks. A Trainer attaches it for the length of a run.
class Callback : public Hooks {
 public:
  void attach(Trainer* trainer, Module* module) noexcept { trainer_ = trainer, module_ = module; }
  /// Whether it decides by metrics: then it gets on_train_batch_end and on_train_epoch_end after all others, with the values that the step
  /// or the epoch logged in the trainer's report.
  virtual bool monitors() const { return false; }
  /// The metrics that it needs by the end of the first epoch with a validation. A mistyped name is reported before the first step.
  virtual std::vector<std::string> required_metrics() const { return {}; }
  /// What a restart must find again, and how all ranks take it back before on_fit_start. Called on all ranks; rank 0's is saved, others
  /// may keep other values or none.
  virtual StateDict state_dict() const { return {}; }
  virtual void load_state_dict(const StateDict&) {}
  /// The name of its state in a checkpoint; empty: that of its class. Of several with one name the second's ends in _2, and so on.
  virtual std::string state_key() const { return {}; }
  /// For one that stops trainings: the options by which it does, as text. A training that was stopped stays so on restarts, until these
  /// options or the limits change.
  virtual std::string stop_options() const { return {}; }
  /// For one that schedules gradient accumulation: the micro-batches of a step in this epoch, the same on all ranks, whenever it is asked.
  /// Null: it does not decide.
  virtual std::optional<int64_t> accumulate_grad_batches(int64_t /*epoch*/) const { return {}; }
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
