#pragma once
#include <exception>
#include <string>
#include <vector>

#include "levin/session/stateful.h"

namespace levin {

class CheckpointReader;
class Session;
struct LoadFrom;

/// Gives a checkpoint's state, as StateWriter wrote it, to a training on any number of ranks. DataError for a state that does not fit.
class StateReader {
 public:
  /// `from` has a checkpoint.
  StateReader(Session& session, const LoadFrom& from);

  /// Parameters, buffers and optimizer states. Collective. Missing and unexpected tensors, and other shapes or dtypes, are listed by name
  /// in one error; where loading is not strict, in a warning, and what fits is loaded. If corruption is found during loading, the next
  /// checkpoint of LoadFrom::instead is loaded.
  void load_model(bool weights_only);
  /// Of the loop and the session. DataError for a checkpoint of weights alone.
  const StateDict& loop();
  /// False where the checkpoint has no state of this name.
  bool load(Stateful& stateful) const;
  /// Empty where there is none of this name.
  StateDict dict(const std::string& name) const;

  /// The one that was loaded.
  const CheckpointReader& checkpoint() const noexcept { return *checkpoint_; }

 private:
  bool load_tensors(bool weights_only, std::exception_ptr& damage);
  Tensor read_tensor(const std::string& name) const;
  std::string path() const;

  Session& session_;
  const LoadFrom& from_;
  const CheckpointReader* checkpoint_;
  StateDict loop_;
};

}  // namespace levin
