#include "file_groups.h"

#include <algorithm>
#include <tuple>

#include "levin/checkpoint/manifest.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"

namespace levin::detail {
namespace {

// Of each rank the first rank of its node.
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
  std::vector<int64_t> units(ranks);  // of each rank: its node, or itself, by number
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
  const int64_t together_of = std::max(nodes_per_file, ranks_per_file);
  for (size_t i = 0; i < ranks; i++) {
    const auto group = static_cast<size_t>(units[i] / together_of);
    if (group == groups.first_ranks.size()) groups.first_ranks.push_back(static_cast<int>(i));  // leaders come in order
    if (i == rank) groups.mine = group;
  }
  on_all_ranks(communicator, "checkpoint", [&] {
    if (groups.count() > Manifest::most_files)
      throw UsageError("checkpoint",
                       fmt::format("a checkpoint would have {} files, at most {} are supported", groups.count(), Manifest::most_files),
                       "raise nodes_per_file");
  });
  return groups;
}

std::vector<Range> united(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::tie(a.tensor, a.begin, a.end) < std::tie(b.tensor, b.begin, b.end); });
  std::vector<Range> result;
  for (const auto& range : ranges)
    if (!result.empty() && result.back().tensor == range.tensor && range.begin <= result.back().end)
      result.back().end = std::max(result.back().end, range.end);
    else
      result.push_back(range);
  return result;
}

std::vector<TensorEntry> entries_of(const std::vector<Range>& ranges, const std::vector<TensorEntry>& tensors) {
  std::vector<TensorEntry> entries;
  for (const auto& range : ranges) {
    const auto& tensor = tensors[static_cast<size_t>(range.tensor)];
    if (range.begin == 0 && range.end == tensor.numel()) {
      entries.push_back(tensor);
      continue;
    }
    Manifest::Dataset set;
    set.name = tensor.name;
    set.part = Manifest::Part{range.begin, range.end, tensor.shape};
    entries.push_back({set.stored_name(), tensor.dtype, {range.end - range.begin}});
  }
  return entries;
}

}  // namespace levin::detail
