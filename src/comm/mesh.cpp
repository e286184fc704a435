#include "levin/comm/mesh.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"

namespace levin {
namespace {

// By rank: the lowest world rank of its node.
std::vector<int> nodes_of(Communicator& world) {
  auto& cpu = world.cpu();
  if (cpu.size() == 1) return {0};
  const auto* node = cpu.node();
  if (node && node->size() == cpu.size()) return std::vector<int>(static_cast<size_t>(cpu.size()), 0);
  std::vector<double> peers(node ? static_cast<size_t>(node->size()) : 1, cpu.rank());
  if (node) cpu.node()->exchange(std::vector<double>{static_cast<double>(cpu.rank())}, peers);
  return all_gather_value(cpu, static_cast<int>(*std::min_element(peers.begin(), peers.end())));
}

}  // namespace

MeshLayout::MeshLayout(std::vector<int> node_of_rank, const ModelParallel& model)
    : node_of_rank_(std::move(node_of_rank)), position_of_rank_(node_of_rank_.size()) {
  if (model.pp < 1 || model.cp < 1 || model.tp < 1 || size() % model.ranks() != 0)
    throw ConfigError(fmt::format("a mesh of pp {} x cp {} x tp {} on {} ranks", model.pp, model.cp, model.tp, size()),
                      "choose positive sizes whose product divides the number of ranks", "comm");
  extents_ = {model.pp, size() / model.ranks(), 1, model.cp, model.tp};
  std::map<int, int> lowest, ranks_of_node;  // by node
  for (int rank = 0; rank < size(); rank++) lowest.try_emplace(node_of(rank), rank), ranks_of_node[node_of(rank)]++;
  std::vector<int> order(node_of_rank_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int left, int right) { return lowest[node_of(left)] < lowest[node_of(right)]; });
  for (int position = 0; position < size(); position++)
    position_of_rank_[static_cast<size_t>(order[static_cast<size_t>(position)])] = position;
  nodes_ = static_cast<int>(ranks_of_node.size());
  const int first = ranks_of_node.begin()->second;
  const bool even = std::all_of(ranks_of_node.begin(), ranks_of_node.end(), [&](const auto& node) { return node.second == first; });
  ranks_per_node_ = even ? first : 0;
}

MeshLayout MeshLayout::of_cluster(int nodes, int ranks_per_node) {
  std::vector<int> node_of_rank(static_cast<size_t>(nodes) * static_cast<size_t>(ranks_per_node));
  for (size_t rank = 0; rank < node_of_rank.size(); rank++) node_of_rank[rank] = static_cast<int>(rank) / ranks_per_node;
  return MeshLayout(std::move(node_of_rank));
}

MeshLayout MeshLayout::sharded_over(int ranks) const {
  const int cp = extent(MeshAxis::cp), data = extent(MeshAxis::dp_replicate) * extent(MeshAxis::dp_shard);
  if (ranks < 1 || ranks % cp != 0 || data % (ranks / cp) != 0)
    throw ConfigError(fmt::format("state sharded over {} ranks, and {} ranks hold copies of it", ranks, data * cp),
                      fmt::format("choose a divisor of {}{}", data * cp, cp > 1 ? fmt::format(" that is a multiple of cp, {}", cp) : ""),
                      "comm");
  MeshLayout sharded = *this;
  sharded.extents_[static_cast<size_t>(MeshAxis::dp_shard)] = ranks / cp;
  sharded.extents_[static_cast<size_t>(MeshAxis::dp_replicate)] = data / (ranks / cp);
  return sharded;
}

int MeshLayout::coordinate(MeshAxis axis, int rank) const noexcept {
  int position = position_of_rank_[static_cast<size_t>(rank)];
  for (size_t inner = extents_.size() - 1; inner > static_cast<size_t>(axis); inner--) position /= extents_[inner];
  return position % extent(axis);
}

MeshGroup MeshLayout::group(MeshAxes axes, int rank) const {
  const auto along = [&](int of) {  // row-major coordinate of a rank in its group
    int part = 0;
    for (const MeshAxis axis : axes) part = part * extent(axis) + coordinate(axis, of);
    return part;
  };
  const auto across = [&](int of) {  // number of the group that a rank belongs to
    int number = 0;
    for (size_t axis = 0; axis < extents_.size(); axis++)
      if (std::find(axes.begin(), axes.end(), static_cast<MeshAxis>(axis)) == axes.end())
        number = number * extents_[axis] + coordinate(static_cast<MeshAxis>(axis), of);
    return number;
  };
  std::map<int, size_t> indices;  // by coordinate, in order of the lowest rank that has it
  std::vector<std::pair<size_t, int>> found;
  const int mine = across(rank);
  for (int other = 0; other < size(); other++) {
    const size_t index = indices.try_emplace(along(other), indices.size()).first->second;
    if (across(other) == mine) found.emplace_back(index, other);
  }
  std::sort(found.begin(), found.end());
  MeshGroup group;
  for (const auto& [index, member] : found) {
    if (member == rank) group.index = group.size();
    group.members.push_back(member);
  }
  return group;
}

Mesh::Mesh(Communicator& world, const ModelParallel& model) : world_(&world), layout_(nodes_of(world), model) {
  data_ = role(layout_.data(rank()));
  loss_ = model.cp == 1 ? data_ : role(layout_.loss(rank()));
  shards_.group = layout_.shards(rank());
  replicas_.group = layout_.replicas(rank());
}

void Mesh::shard_over(int ranks) {
  layout_ = layout_.sharded_over(ranks);
  shards_ = {}, replicas_ = {};
  shards_ = role(layout_.shards(rank()));
  replicas_.group = layout_.replicas(rank());
  if (replicas_.group.size() > 1) replicas_ = role(replicas_.group);
}

Mesh::Role Mesh::role(MeshGroup group) const {
  if (group.size() == size()) return {std::move(group), std::shared_ptr<Communicator>(std::shared_ptr<void>(), world_)};
  const int color = group.members.front(), key = group.index;
  return {std::move(group), world_->split(color, key)};
}

}  // namespace levin
