#pragma once
// The masks of ModelPruning.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/callbacks/model_pruning.h"
#include "levin/core/tensor.h"
#include "levin/session/state_dict.h"

namespace levin {
class Log;
class Session;

namespace detail {

/// Whether whole slices are pruned.
inline bool is_structured(PruningMethod method) {
  return method == PruningMethod::ln_structured || method == PruningMethod::random_structured;
}

/// The masks of the shards that this rank updates. Session and config must outlive it. All ranks make the same calls, with the same
/// arguments; those marked as collective wait for each other.
class PruningMasks {
 public:
  /// Nothing is pruned yet. ConfigError for patterns that match no trained parameter, for slices of parameters that lack the dimension,
  /// and for an amount that exceeds what there is.
  PruningMasks(Session& session, const ModelPruningConfig& config);
  PruningMasks(const PruningMasks&) = delete;
  PruningMasks& operator=(const PruningMasks&) = delete;

  /// Whether this training, or the one that it resumes, has pruned.
  bool any() const noexcept { return any_; }
  /// Elements of all parameters to prune.
  int64_t numel() const noexcept { return parameters_.back().position + parameters_.back().numel; }
  /// Pruned elements of them. Collective.
  int64_t pruned() const;
  /// Logs the pruned elements of each parameter. Collective.
  void report(const Log& log) const;

  /// Prunes `amount` of what is left; with use_lottery_ticket_hypothesis the rest gets its first values. Between steps. Collective.
  /// Where fewer are left it prunes them all, and warns once.
  void prune(const Limit& amount, uint64_t seed);
  /// Sets pruned elements of the parameters to zero. Between steps. Collective.
  void apply();
  /// The same for this rank's gradients. Local.
  void apply_to_gradients(size_t optimizer) const;

  /// Each element once, in parts with their ranges: the number of ranks may change. Local. DataError where a state does not fit the model.
  StateDict state() const;
  void load(const StateDict& state);

 private:
  struct Parameter {
    std::string name;
    std::vector<int64_t> shape;
    int64_t numel = 0, position = 0;  // among the elements of all parameters to prune
    Tensor pruned_slices = {};        // bool [slices], on the CPU, of structured methods; the same on all ranks
  };
  // A range of a flattened parameter; without one if it is not to be pruned.
  struct Shard {
    const Parameter* parameter = nullptr;
    int64_t offset = 0;
    Tensor mask = {}, first = {};  // first values
  };
  struct Part {
    const Parameter* parameter;
    int64_t offset;
    Tensor values, mask;
  };

  void find_parameters();
  void check_amount() const;
  void make_shards();
  const Parameter* find(std::string_view name) const;
  size_t index_of(const Parameter* parameter) const { return static_cast<size_t>(parameter - parameters_.data()); }
  const Shard* shard_of(const Parameter* parameter, int64_t offset, int64_t count) const;
  // Those of all ranks have every element once.
  std::vector<Part> parts() const;
  // Of each parameter, on all ranks. Collective.
  std::vector<int64_t> elements_left() const;
  void assign(const std::function<Tensor(const Shard&, const Tensor& values)>& value_of);

  void add_parts(StateDict& state, const std::string& kind, Tensor Shard::*values) const;
  void take_parts(const StateDict& state, const std::string& kind, Tensor Shard::*values);

  // pruning_choice.cpp
  void prune_elements(const Limit& amount, uint64_t seed);
  int64_t number_to_prune(const Limit& amount, int64_t left, const std::string& name);
  std::vector<int64_t> elements_to_prune(const Limit& amount);
  Tensor element_keys(const Parameter& parameter, int64_t offset, const Tensor& values, uint64_t seed) const;
  void prune_slices(const Limit& amount, uint64_t seed);
  std::vector<double> slice_keys(const Parameter& parameter, const Tensor& values, uint64_t seed) const;
  Tensor rows_of_slices(const Parameter& parameter, const Tensor& values) const;
  void mask_slices(const Shard& shard) const;

  Session& session_;
  const ModelPruningConfig& config_;
  std::vector<Parameter> parameters_;
  std::vector<Shard> shards_;  // in the order of parameter_slices
  bool any_ = false, warned_ = false;
};

}  // namespace detail
}  // namespace levin
