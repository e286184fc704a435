#pragma once
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "levin/comm/mesh.h"
#include "levin/parallel/sharding_options.h"
#include "levin/parallel/strategy_config.h"

namespace levin {

/// The placement of parameters, gradients or optimizer state.
enum class Placement {
  replicated,   ///< every rank has all of it
  node_shared,  ///< one copy per node, in shared memory that all its ranks see
  sharded       ///< every rank has its shard; the whole has memory only while it is used
};

/// Strategies differ in nothing but these placements.
struct Placements {
  Placement parameters = Placement::replicated, gradients = Placement::replicated, optimizer = Placement::replicated;
  bool gathered_per_node = false;  ///< sharded parameters are all-gathered into one buffer per node
  bool operator==(const Placements&) const = default;
};

/// The ranks among whom state is placed.
struct Ranks {
  int all = 1;
  int hosts = 1;
  int ranks_per_node = 1;    ///< ranks on each host; 0 where hosts have different numbers
  bool share_memory = true;  ///< the ranks of a host can read each other's tensors
};
/// Those of mesh.loss(). `share_memory`: whether the ranks of a node can read each other's tensors, which those of GPUs cannot.
Ranks ranks_of(const MeshLayout& mesh, bool share_memory);

/// A strategy's options resolved for given ranks. Arithmetic: it holds no memory and no communicator.
struct ShardingPlan {
  std::string name = "single_device";  ///< "fsdp", whatever alias was configured
  Placements placements;               ///< of a unit's groups
  ShardingOptions options;
  int shard_ranks = 1;  ///< ranks that hold one copy of what is sharded together; all, where nothing is
  int ranks = 1;
  std::optional<c10::ScalarType> autocast_dtype;  ///< of a mixed precision

  /// The dtype in which matrices of units are unsharded, where param_dtype does not say it and a mixed precision computes with them in
  /// another one than the parameters' own. Vectors, such as biases and the weights of norms, keep theirs.
  std::optional<c10::ScalarType> matrix_dtype() const noexcept { return by_unit() && !options.param_dtype ? autocast_dtype : std::nullopt; }
  /// Placements of a unit's groups. The root unit (0) is used throughout a step, so its parameters are never resharded.
  Placements of_unit(int unit) const noexcept;
  /// Whether each unit's parameters get separate flat groups, to be unsharded and resharded around the unit.
  bool by_unit() const noexcept { return placements.parameters == Placement::sharded; }
  /// Whether each rank updates its shard of the parameters, not all of them.
  bool shards_updates() const noexcept { return placements.optimizer == Placement::sharded; }
  /// Whether every forward and backward communicates, not only the last backward of a step: units are unsharded, or gradients reduced and
  /// released.
  bool communicates_inside() const noexcept { return by_unit() || placements.gradients == Placement::sharded; }
  int replicas() const noexcept { return ranks / shard_ranks; }
  /// Replaces a copy per node by private memory on every rank.
  void make_private(const Ranks& ranks);
  /// "ddp, one copy of the parameters a node", for people.
  std::string describe() const;
};

/// The ShareParameters option of a strategy.
ShareParameters share_parameters_of(const StrategyConfig& config);
/// Whether a shared copy is required, so that private memory in its place is an error.
constexpr bool must_share(ShareParameters share) { return share == ShareParameters::node || share == ShareParameters::numa; }
/// ConfigError for what these ranks cannot do: single_device on several ranks, shared memory on devices without it, a shard group that does
/// not divide the ranks. `autocast_dtype`: of a mixed precision.
ShardingPlan resolve_strategy(const StrategyConfig& config, const Ranks& ranks, std::optional<c10::ScalarType> autocast_dtype = {});

}  // namespace levin
