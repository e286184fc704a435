#pragma once
#include <functional>
#include <string>
#include <utility>

#include "levin/session/state_dict.h"

namespace levin {

/// An object whose state belongs to a training, such as a scheduler, a sampler, a callback or a metric. Session::attach registers it;
/// Session::save and Trainer's checkpoints then store its state, and a restore loads it.
class Stateful {
 public:
  virtual ~Stateful() = default;
  /// Name in checkpoints, such as "callbacks/EMA": unique in a training, the same on all ranks and in every attempt.
  virtual std::string state_name() const = 0;
  /// Called on all ranks at a step boundary. An empty dictionary is not stored.
  virtual void save(StateDict& state) = 0;
  /// Called on all ranks, only if the checkpoint has a state of this name.
  virtual void load(const StateDict& state) = 0;
};

/// A Stateful made of two functions, for an object that already saves and loads itself.
class FunctionState : public Stateful {
 public:
  using Save = std::function<void(StateDict&)>;
  using Load = std::function<void(const StateDict&)>;
  FunctionState(std::string name, Save save, Load load) : name_(std::move(name)), save_(std::move(save)), load_(std::move(load)) {}
  std::string state_name() const override { return name_; }
  void save(StateDict& state) override { save_(state); }
  void load(const StateDict& state) override { load_(state); }

 private:
  std::string name_;
  Save save_;
  Load load_;
};

}  // namespace levin
