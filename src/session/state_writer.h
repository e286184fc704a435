#pragma once
#include <string>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"
#include "levin/core/tensor.h"
#include "levin/device/host_staging.h"
#include "levin/session/stateful.h"

namespace levin {

class Communicator;
class Session;

namespace detail {

/// Collects the state of a checkpoint, where a step is complete. Collective. A state NAME is stored as
///
///     state/NAME           numbers, texts and booleans: JSON, rank 0's
///     NAME/KEY             tensors: rank 0's, EachRank as [ranks, ...], RankRows as [rows, ...] with NAME/KEY.ranks [ranks]
///
/// beside model/NAME and optimizer/OPTIMIZER/STATE/NAME, the whole tensors of all ranks' parts.
class StateWriter {
 public:
  /// `communicator`: of host memory, over the session's ranks.
  StateWriter(Session& session, Communicator& communicator) : session_(session), communicator_(communicator) {}

  void add_model(bool weights_only);
  /// Copies what is added from now on: it stays as it is, whatever the training changes.
  void keep_copies() noexcept { copies_ = true; }
  void add(Stateful& stateful);
  void add(const std::string& name, const StateDict& dict);
  /// Valid as long as this lives and the tensors it refers to do not change.
  const CheckpointState& state() const noexcept { return state_; }

 private:
  void add_of_rank_0(const std::string& name, const Tensor& tensor);
  void add_tensors_of_rank_0(const std::vector<std::pair<std::string, Tensor>>& mine);
  void add_of_each_rank(const std::string& name, const Tensor& mine);
  void add_rows(const std::string& name, const Tensor& mine);
  void add_piece(const std::string& name, const Hyperslab& slab, const Tensor& values);
  /// A range of the flattened tensor.
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
