#pragma once
#include <string>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"
#include "levin/core/tensor.h"
#include "levin/trainer/state_dict.h"

namespace levin {

class Communicator;
class LogCollection;
class Module;
class Trainer;

namespace detail {

/// Gathers what a checkpoint is made of, where a step is complete. Collective. Names of tensors and texts:
///
///     model/NAME, optimizer/OPTIMIZER/STATE/NAME     whole, of all ranks' parts
///     running/NAME [ranks, 4]                        sum, weight, last value and last weight of what is logged in this epoch
///     metrics/METRIC/STATE [ranks, …] or [rows, …]   of the module's metrics, and for rows .../STATE.ranks [ranks], how many of each
///     callbacks/KEY/NAME, hooks/NAME                 tensors of state_dict and on_save_checkpoint
///     data/NAME                                      of the data module's state_dict
///     state/loop, state/running, state/data, state/callbacks/KEY, state/hooks     the rest, JSON
class StateWriter {
 public:
  /// `communicator`: for what ranks tell each other here.
  StateWriter(Trainer& trainer, Module& module, Communicator& communicator)
      : trainer_(trainer), module_(module), communicator_(communicator) {}

  void add_model(bool weights_only);
  void add_loop(const StateDict& loop);
  void add_running(const LogCollection& logs);
  void add_data();
  void add_callbacks();
  /// Valid as long as this lives, and what it refers to is not changed.
  const CheckpointState& state() const noexcept { return state_; }

 private:
  void add_dict(const std::string& text_name, const std::string& prefix, const StateDict& dict);
  void add_of_rank_0(const std::string& name, const Tensor& tensor);
  void add_dict_tensors();
  void add_of_each_rank(const std::string& name, const Tensor& mine);
  void add_rows(const std::string& name, const Tensor& mine);
  void add_piece(const std::string& name, int64_t begin, const Tensor& values);

  Trainer& trainer_;
  Module& module_;
  Communicator& communicator_;
  CheckpointState state_;
  std::vector<Tensor> kept_;
  std::vector<std::pair<std::string, Tensor>> dict_tensors_;  // this rank's, of dictionaries; rank 0's are saved
};

}  // namespace detail
}  // namespace levin
