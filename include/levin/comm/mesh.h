#pragma once
#include <array>
#include <initializer_list>
#include <memory>
#include <vector>

#include "levin/comm/communicator.h"

namespace levin {

/// The axes of a mesh, outermost first: pipeline stages, replicas of the sharded state, shards of it, parts of a sequence (context
/// parallel), parts of a layer (tensor parallel).
enum class MeshAxis { pp, dp_replicate, dp_shard, cp, tp };
using MeshAxes = std::initializer_list<MeshAxis>;

/// The extents of the axes that split a model. The remaining factor of the ranks is data parallel.
struct ModelParallel {
  int pp = 1, cp = 1, tp = 1;
  int ranks() const noexcept { return pp * cp * tp; }
};

/// Ranks that play one role together.
struct MeshGroup {
  int index = 0;             ///< this rank's position among the members
  std::vector<int> members;  ///< world ranks
  int size() const noexcept { return static_cast<int>(members.size()); }
};

/// The coordinates of each rank on a mesh. Pure arithmetic, the same on all ranks; also used by the planner for a described cluster.
///
/// Ranks are ordered by node first, then by number, and laid out row-major over the axes: inner axes stay inside a node wherever their
/// extents divide its ranks, whether the launcher placed ranks by slot or by node. Example: 4 ranks on nodes {0, 1, 0, 1} (--map-by node)
/// with dp_shard = 2: ranks 0 and 2 shard one copy, ranks 1 and 3 the other.
class MeshLayout {
 public:
  /// `node_of_rank`: an arbitrary id of each rank's node (a host or NUMA domain). All data-parallel ranks are replicas. ConfigError if
  /// pp * cp * tp does not divide the number of ranks.
  explicit MeshLayout(std::vector<int> node_of_rank, const ModelParallel& model = {});
  /// A cluster of `nodes` nodes with `ranks_per_node` ranks each, placed by slot.
  static MeshLayout of_cluster(int nodes, int ranks_per_node);
  /// The same mesh with `ranks` = dp_shard * cp ranks per sharded copy. ConfigError if `ranks` does not divide the data-parallel ranks.
  MeshLayout sharded_over(int ranks) const;

  int size() const noexcept { return static_cast<int>(node_of_rank_.size()); }
  int extent(MeshAxis axis) const noexcept { return extents_[static_cast<size_t>(axis)]; }
  int coordinate(MeshAxis axis, int rank) const noexcept;
  int nodes() const noexcept { return nodes_; }
  /// 0 if nodes have different numbers of ranks.
  int ranks_per_node() const noexcept { return ranks_per_node_; }
  int node_of(int rank) const noexcept { return node_of_rank_[static_cast<size_t>(rank)]; }

  /// The ranks that differ from `rank` in these axes only. Members with equal coordinates in these axes have the same index in their
  /// groups; indices are ordered by the lowest such world rank, so that over all axes of size > 1 the index is the world rank.
  MeshGroup group(MeshAxes axes, int rank) const;
  /// Ranks with different samples: for loaders, sample counts, throughput.
  MeshGroup data(int rank) const { return group({MeshAxis::dp_replicate, MeshAxis::dp_shard}, rank); }
  /// Ranks over which gradients, weights and losses are summed.
  MeshGroup loss(int rank) const { return group({MeshAxis::dp_replicate, MeshAxis::dp_shard, MeshAxis::cp}, rank); }
  /// Ranks that shard one copy of parameters, gradients or optimizer state.
  MeshGroup shards(int rank) const { return group({MeshAxis::dp_shard, MeshAxis::cp}, rank); }
  /// Ranks that hold the same shard of each copy.
  MeshGroup replicas(int rank) const { return group({MeshAxis::dp_replicate}, rank); }
  /// Equal on ranks that must draw the same random numbers (a tensor-parallel group); the world rank if tp is 1.
  int seed_rank(int rank) const { return group({MeshAxis::tp}, rank).members.front(); }

 private:
  std::vector<int> node_of_rank_, position_of_rank_;  // the position is row-major over the axes
  std::array<int, 5> extents_{1, 1, 1, 1, 1};
  int nodes_ = 1, ranks_per_node_ = 0;
};

/// A mesh over a communicator's ranks. Callers ask for roles instead of computing ranks. `world` must outlive it.
class Mesh {
 public:
  /// Nodes are the sets of ranks that share host memory (Communicator::node of the CPU communicator). Collective.
  explicit Mesh(Communicator& world, const ModelParallel& model = {});

  /// Changes the number of shards of each copy and creates the communicators of shards() and replicas(); earlier ones become invalid.
  /// ConfigError as in MeshLayout::sharded_over. Collective.
  void shard_over(int ranks);

  int rank() const noexcept { return world_->rank(); }
  int size() const noexcept { return world_->size(); }
  const MeshLayout& layout() const noexcept { return layout_; }
  Communicator& world() const noexcept { return *world_; }
  int seed_rank() const { return layout_.seed_rank(rank()); }

  const MeshGroup& data() const noexcept { return data_.group; }
  const MeshGroup& loss() const noexcept { return loss_.group; }
  const MeshGroup& shards() const noexcept { return shards_.group; }
  const MeshGroup& replicas() const noexcept { return replicas_.group; }
  /// The groups' communicators, ordered by index; world() if a group has all ranks.
  Communicator& data_communicator() const noexcept { return *data_.communicator; }
  Communicator& loss_communicator() const noexcept { return *loss_.communicator; }
  /// Null before shard_over; the replica communicator also if there is one copy.
  Communicator* shard_communicator() const noexcept { return shards_.communicator.get(); }
  Communicator* replica_communicator() const noexcept { return replicas_.communicator.get(); }

 private:
  struct Role {
    MeshGroup group;
    std::shared_ptr<Communicator> communicator;
  };
  Role role(MeshGroup group) const;

  Communicator* world_;
  MeshLayout layout_;
  Role data_, loss_, shards_, replicas_;
};

}  // namespace levin
