#include "file_groups.h"

#include <algorithm>
#include <compare>
#include <tuple>

#include "levin/checkpoint/manifest.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"

namespace levin::detail {
namespace {

// By rank: the first rank of its node.
std::vector<int64_t> node_leaders(Communicator* communicator) {
  if (!communicator) return {0};
  auto leader = static_cast<double>(communicator->rank());
  if (auto* node = communicator->node()) {
    std::vector<double> all(static_cast<size_t>(node->size()));
    node->exchange({&leader, 1}, all);
    leader = *std::min_element(all.begin(), all.end());
  }
  return all_gather_values<int64_t>(communicator, {static_cast<int64_t>(leader)});
}

}  // namespace

FileGroups make_file_groups(Communicator* communicator, int64_t nodes_per_file, int64_t ranks_per_file) {
  on_all_ranks(communicator, "checkpoint", [&] {
    if (nodes_per_file < 0 || ranks_per_file < 0 || (nodes_per_file > 0 && ranks_per_file > 0))
      throw UsageError("checkpoint",
                       fmt::format("nodes_per_file {} and ranks_per_file {} exclude each other", nodes_per_file, ranks_per_file),
                       "set one of them to 0");
  });
  FileGroups groups;
  if (nodes_per_file == 0 && ranks_per_file == 0) return groups;
  const auto ranks = static_cast<size_t>(communicator ? communicator->size() : 1),
             rank = static_cast<size_t>(communicator ? communicator->rank() : 0);
  std::vector<int64_t> units(ranks);  // by rank: index of its node, or the rank itself
  if (nodes_per_file > 0) {
    const auto leaders = node_leaders(communicator);
    auto nodes = leaders;
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    for (size_t i = 0; i < ranks; i++) units[i] = std::lower_bound(nodes.begin(), nodes.end(), leaders[i]) - nodes.begin();
  } else {
    for (size_t i = 0; i < ranks; i++) units[i] = static_cast<int64_t>(i);
  }
  groups.first_ranks.clear();
  const int64_t units_per_file = std::max(nodes_per_file, ranks_per_file);
  for (size_t i = 0; i < ranks; i++) {
    const auto group = static_cast<size_t>(units[i] / units_per_file);
    if (group == groups.first_ranks.size())
      groups.first_ranks.push_back(static_cast<int>(i));  // groups appear in order of their first ranks
    if (i == rank) groups.file = group;
  }
  on_all_ranks(communicator, "checkpoint", [&] {
    if (groups.count() > Manifest::most_files)
      throw UsageError("checkpoint",
                       fmt::format("a checkpoint would have {} files, at most {} are supported", groups.count(), Manifest::most_files),
                       "raise nodes_per_file");
  });
  return groups;
}

bool Region::is_whole(const TensorEntry& entry) const { return slab == Hyperslab::range(0, entry.numel()); }

bool operator<(const Region& a, const Region& b) {
  const bool a_is_box = !a.slab.flattened, b_is_box = !b.slab.flattened;
  if (const auto order = std::tie(a.tensor, a_is_box, a.slab.offset) <=> std::tie(b.tensor, b_is_box, b.slab.offset); order != 0)
    return order < 0;
  return a_is_box && a.slab.extent < b.slab.extent;
}

std::vector<Region> merged(std::vector<Region> regions) {
  std::sort(regions.begin(), regions.end());
  std::vector<Region> result;
  for (auto& region : regions) {
    auto* last = result.empty() || result.back().tensor != region.tensor ? nullptr : &result.back().slab;
    if (last && *last == region.slab) continue;
    if (last && last->flattened && region.slab.flattened && region.slab.offset[0] <= last->offset[0] + last->extent[0])
      last->extent[0] = std::max(last->extent[0], region.slab.offset[0] + region.slab.extent[0] - last->offset[0]);
    else
      result.push_back(std::move(region));
  }
  return result;
}

std::vector<TensorEntry> entries_of(const std::vector<Region>& regions, const std::vector<TensorEntry>& tensors) {
  std::vector<TensorEntry> entries;
  for (const auto& region : regions) {
    const auto& tensor = tensors[static_cast<size_t>(region.tensor)];
    if (region.is_whole(tensor)) {
      entries.push_back(tensor);
      continue;
    }
    Manifest::Dataset set;
    set.name = tensor.name;
    set.part = Manifest::Part{region.slab, tensor.shape};
    entries.push_back({set.stored_name(), tensor.dtype, region.slab.extent});
  }
  return entries;
}

void append(std::vector<int64_t>& numbers, const Region& region) {
  const auto& [offset, extent, flattened] = region.slab;
  numbers.insert(numbers.end(), {region.tensor, flattened ? 0 : static_cast<int64_t>(offset.size())});
  numbers.insert(numbers.end(), offset.begin(), offset.end());
  numbers.insert(numbers.end(), extent.begin(), extent.end());
}

Region take_region(const std::vector<int64_t>& numbers, size_t& position) {
  Region region{numbers[position], {}};
  region.slab.flattened = numbers[position + 1] == 0;
  const auto dimensions = std::max<std::ptrdiff_t>(numbers[position + 1], 1);
  const auto offset = numbers.begin() + static_cast<std::ptrdiff_t>(position) + 2;
  region.slab.offset.assign(offset, offset + dimensions);
  region.slab.extent.assign(offset + dimensions, offset + 2 * dimensions);
  position += 2 + 2 * static_cast<size_t>(dimensions);
  return region;
}

}  // namespace levin::detail
