#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/session/stateful.h"

namespace levin {

class Callback;
class DataModule;
class LogCollection;
class Module;
class Run;
class Session;

namespace detail {

/// What is logged so far in an epoch, as state "running": text about each value, and for each a tensor running/NNNN of every rank: sum,
/// weight, last value and its weight.
class RunningLogs : public Stateful {
 public:
  RunningLogs(Session& session, Module& module, LogCollection& logs) : session_(session), module_(module), logs_(logs) {}
  std::string state_name() const override { return "running"; }
  void save(StateDict& state) override;
  void load(const StateDict& state) override;

 private:
  Session& session_;
  Module& module_;
  LogCollection& logs_;
};

/// The states of a module's metrics, as METRIC/STATE of state "metrics". On as many ranks as before each rank gets its own again, else
/// rank 0 gets all ranks' together.
class ModuleMetrics : public Stateful {
 public:
  ModuleMetrics(Session& session, Module& module) : session_(session), module_(module) {}
  std::string state_name() const override { return "metrics"; }
  void save(StateDict& state) override;
  void load(const StateDict& state) override;

 private:
  Session& session_;
  Module& module_;
};

/// The run's callbacks, each with a unique key.
std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed_callbacks(const Run& run);

/// The data module's state_dict.
FunctionState state_of(DataModule& data);

/// Keeps the states of a fit in the session's checkpoints while it lives: logs, metrics, data module, callbacks, hooks, loggers.
class RunState {
 public:
  RunState(Run& run, LogCollection& logs);
  ~RunState();
  RunState(const RunState&) = delete;
  RunState& operator=(const RunState&) = delete;

  RunningLogs& running() noexcept { return running_; }
  ModuleMetrics& metrics() noexcept { return metrics_; }
  /// The data module's, the callbacks' and the hooks', in the order in which they are loaded.
  std::vector<Stateful*> others();
  /// Loaded on rank 0, once it is certain that the training resumes.
  std::vector<Stateful*> loggers();

 private:
  Session& session_;
  RunningLogs running_;
  ModuleMetrics metrics_;
  std::vector<std::unique_ptr<FunctionState>> others_, loggers_;
};

}  // namespace detail
}  // namespace levin
