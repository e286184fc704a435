#pragma once
#include <string>

#include "levin/comm/mesh.h"
#include "levin/parallel/sharding_options.h"
#include "levin/parallel/strategy_config.h"

namespace levin {

/// How a kind of state lives on the ranks. Strategies differ in nothing but these lifetimes.
enum class Hold {
  whole,   ///< every rank has all of it
  shared,  ///< one copy a node, in shared memory, which all of its ranks see
  sharded  ///< every rank has its part; the whole comes and goes with its use
};

struct Lifetimes {
  Hold parameters = Hold::whole, gradients = Hold::whole, optimizer = Hold::whole;
  bool gathers_once = false;  ///< what comes and goes of sharded parameters is one copy a node
  bool operator==(const Lifetimes&) const = default;
};

/// Who takes part, as far as it decides on a form.
struct Ranks {
  int all = 1;
  int hosts = 1;
  int of_host = 1;           ///< ranks on each host; 0 where hosts have different numbers
  bool share_memory = true;  ///< the ranks of a host can read each other's tensors
};
/// `share_memory`: whether the ranks of a node can read each other's tensors, which those of GPUs cannot.
Ranks ranks_of(const MeshLayout& mesh, bool share_memory);

/// What a strategy's options come to among given ranks; arithmetic.
struct Form {
  std::string name = "single_device";  ///< Levin's name: "fsdp"
  Lifetimes lifetimes;                 ///< of a unit's groups
  ShardingOptions options;
  int shard_ranks = 1;  ///< ranks among whom one copy is cut; as many again have its replicas
  int ranks = 1;

  bool shared() const noexcept { return lifetimes.parameters == Hold::shared; }
  /// A node's first rank has parameters that the others see.
  bool one_copy() const noexcept { return shared() || lifetimes.gathers_once; }
  bool by_unit() const noexcept { return lifetimes.parameters == Hold::sharded; }
  /// The root unit, what is outside of every unit, is used all through a step: its parameters stay.
  Lifetimes of_unit(int unit) const noexcept;
  /// Gives up the shared copy: every rank has memory of its own.
  void take_private_form(const Ranks& ranks);
  /// "ddp, one copy of the parameters a node", for people.
  std::string describe() const;
};

/// What a strategy says of it.
ShareParameters share_parameters_of(const StrategyConfig& config);
/// Whether private memory in its place is an error.
constexpr bool must_share(ShareParameters share) { return share == ShareParameters::node || share == ShareParameters::numa; }
/// ConfigError for what these ranks cannot do: one device on several ranks, shared memory that there is not, a group that does not divide.
Form choose_form(const StrategyConfig& config, const Ranks& ranks);

}  // namespace levin
