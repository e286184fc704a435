#pragma once
#include <string>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"
#include "levin/core/tensor.h"
#include "levin/device/host_staging.h"
#include "levin/parallel/state_tensor.h"
#include "levin/session/stateful.h"

namespace levin {

class Communicator;
class Session;

namespace detail {

/// Collects the state of a checkpoint, at a step boundary. Collective. A state NAME is stored as
///
///     state/NAME           numbers, texts and booleans: JSON, rank 0's
///     NAME/KEY             tensors: rank 0's, EachRank as [ranks, ...], RankRows as [rows, ...] with NAME/KEY.ranks [ranks]
///
/// next to model/NAME, with averages also current_model/NAME or average_model/NAME, and optimizer/OPTIMIZER/STATE/NAME, whole tensors
/// assembled from the shards of all ranks.
class StateWriter {
 public:
  /// `communicator` is for tensors in host memory, over the session's ranks.
  StateWriter(Session& session, Communicator& communicator) : session_(session), communicator_(communicator) {}

  void add_model(bool weights_only);
  /// From now on, added tensors are copied, so that the training can change the originals.
  void keep_copies() noexcept { copies_ = true; }
  void add(Stateful& stateful);
  void add(const std::string& name, const StateDict& dict);
  /// Valid while the writer exists and tensors that were added without a copy do not change.
  const CheckpointState& state() const noexcept { return state_; }

 private:
  void add_state(const StateTensor& tensor);
  void add_from_rank_0(const std::string& name, const Tensor& tensor);
  void add_tensors_from_rank_0(const std::vector<std::pair<std::string, Tensor>>& tensors);
  void add_each_rank(const std::string& name, const Tensor& values);
  void add_rows(const std::string& name, const Tensor& values);
  void add_piece(const std::string& name, const Hyperslab& slab, const Tensor& values);
  /// Adds a range of the flattened tensor.
  void add_range(const std::string& name, int64_t begin, const Tensor& values) {
    add_piece(name, Hyperslab::range(begin, begin + values.numel()), values);
  }

  Session& session_;
  Communicator& communicator_;
  CheckpointState state_;
  HostStaging staging_;
  std::vector<Tensor> kept_;
  bool copies_ = false;
};

}  // namespace detail
}  // namespace levin
