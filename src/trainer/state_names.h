#pragma once
// What StateWriter and StateReader agree on.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/trainer/log_collection.h"
#include "levin/trainer/state_dict.h"

namespace levin {

class Callback;
class Metric;
class Module;
class Trainer;

namespace detail {

inline const std::string loop_text = "state/loop", running_text = "state/running", callbacks_text = "state/callbacks/",
                         hooks_text = "state/hooks", data_text = "state/data", data_prefix = "data/", loggers_text = "state/loggers/",
                         running_prefix = "running/", metrics_prefix = "metrics/", callbacks_prefix = "callbacks/", hooks_prefix = "hooks/",
                         rows_of_ranks = ".ranks";

/// What is known of an entry of a LogCollection beside its numbers.
struct RunningEntry {
  std::string name = {};
  LogOptions options = {};
  std::string metric = {};  ///< of the module; empty: a value

  void add_to(StateDict& dict, int64_t number) const;
  static RunningEntry from(const StateDict& dict, int64_t number);
};

/// Empty for one that the module does not have.
std::string name_of_metric(const Module& module, const Metric* metric);

/// The run's callbacks, each with a name of its own.
std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed_callbacks(const Trainer& trainer);

}  // namespace detail
}  // namespace levin
