#pragma once
#include <exception>
#include <string>
#include <vector>

#include "levin/session/stateful.h"

namespace levin {

class CheckpointReader;
class Session;
struct LoadFrom;

/// Restores the state that StateWriter stored in a checkpoint, on any number of ranks. DataError for a state that does not fit.
class StateReader {
 public:
  /// `from.checkpoint` must not be null.
  StateReader(Session& session, const LoadFrom& from);

  /// Loads parameters, buffers and optimizer states. Collective. One error lists all missing and unexpected tensors and all tensors of
  /// other shapes or dtypes; if loading is not strict, a warning lists them, and the rest is loaded. If corruption is found during loading,
  /// loads the next checkpoint of LoadFrom::instead.
  void load_model(bool weights_only);
  /// State of the loop and the session. DataError for a weights-only checkpoint.
  const StateDict& loop();
  /// Loads the state of `stateful`. False if the checkpoint has no state of its name.
  bool load(Stateful& stateful) const;
  /// The state of this name; empty if the checkpoint has none.
  StateDict dict(const std::string& name) const;

  /// The loaded checkpoint: the one given, or the replacement of a corrupt one.
  const CheckpointReader& checkpoint() const noexcept { return *checkpoint_; }

 private:
  bool load_tensors(bool weights_only, std::exception_ptr& corruption);
  Tensor read_tensor(const std::string& name) const;
  std::string path() const;

  Session& session_;
  const LoadFrom& from_;
  const CheckpointReader* checkpoint_;
  StateDict loop_;
};

}  // namespace levin
