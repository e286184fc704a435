#pragma once
#include <exception>
#include <string>
#include <vector>

#include "levin/trainer/state_dict.h"

namespace levin {

class CheckpointReader;
class LogCollection;
class Metric;
class Module;
class Trainer;
struct LoadFrom;

namespace detail {

/// Puts a checkpoint's state, as StateWriter wrote it, into a run of any number of ranks. DataError for what does not fit.
class StateReader {
 public:
  /// `from` has a checkpoint.
  StateReader(Trainer& trainer, Module& module, const LoadFrom& from);

  /// Parameters and buffers, and optimizer states. Collective. What is missing, unexpected, or of another shape or dtype is listed, by
  /// name, in one error; where the loading is not strict, in a warning, and what fits is loaded. A checkpoint that turns out to be damaged
  /// is given up for another, as `from` says.
  void load_model(bool weights_only);
  /// A checkpoint of weights alone has none: DataError.
  const StateDict& loop();
  void load_running(LogCollection& logs);
  void load_data();
  /// Of the hooks, too.
  void load_callbacks();
  /// On rank 0.
  void load_loggers();
  /// The one that was loaded.
  const CheckpointReader& checkpoint() const noexcept { return *checkpoint_; }

 private:
  bool load_tensors(bool weights_only, std::exception_ptr& damage);
  StateDict read_dict(const std::string& text_name, const std::string& prefix) const;
  Tensor read_tensor(const std::string& name) const;
  void load_metric(const std::string& name, Metric& metric) const;
  std::string path() const;

  Trainer& trainer_;
  Module& module_;
  const LoadFrom& from_;
  const CheckpointReader* checkpoint_;
  StateDict loop_;
};

}  // namespace detail
}  // namespace levin
