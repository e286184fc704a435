#include "layout.h"

#include <algorithm>

namespace levin {
namespace {

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Sorts the parameters by parameter group and assigns parameter and group ranges.
void assign_ranges(GroupLayout& group, const std::vector<ParameterInfo>& parameters, const LayoutOptions& options) {
  const int64_t alignment = options.alignment_bytes / static_cast<int64_t>(c10::elementSize(group.dtype));
  std::stable_sort(group.parameters.begin(), group.parameters.end(), [&](const ParameterRange& a, const ParameterRange& b) {
    return parameters[static_cast<size_t>(a.parameter)].group_id < parameters[static_cast<size_t>(b.parameter)].group_id;
  });
  int64_t offset = 0;
  for (auto& member : group.parameters) {
    const auto& info = parameters[static_cast<size_t>(member.parameter)];
    member.range = {offset, offset + info.numel};
    offset = round_up(offset + info.numel, alignment);
    if (group.group_ranges.empty() || group.group_ranges.back().group_id != info.group_id)
      group.group_ranges.push_back({info.group_id, {member.range.begin, offset}});
    else
      group.group_ranges.back().range.end = offset;
  }
  group.numel = round_up(offset, alignment * options.ranks);
  group.group_ranges.back().range.end = group.numel;  // padding is updated with the last range: zeros stay zeros
}

}  // namespace

Range intersect(Range a, Range b) {
  const Range both{std::max(a.begin, b.begin), std::min(a.end, b.end)};
  return both.begin < both.end ? both : Range{both.begin, both.begin};
}

Range GroupLayout::shard(int rank, int ranks) const {
  const int64_t part = numel / ranks;
  return {part * rank, part * (rank + 1)};
}

std::vector<GroupLayout> make_layout(const std::vector<ParameterInfo>& parameters, const LayoutOptions& options) {
  std::vector<GroupLayout> groups;
  std::vector<int64_t> bytes;  // of each group
  std::vector<size_t> open;    // groups that still take parameters, one a (dtype, trained, unit, optimizer, matrices)
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto& info = parameters[i];
    const int unit = options.by_unit ? info.unit : 0;
    const bool matrix = options.separate_matrices && unit != 0 && info.dim >= 2;
    auto found = std::find_if(open.begin(), open.end(), [&](size_t g) {
      return groups[g].dtype == info.dtype && groups[g].trained == info.trained && groups[g].unit == unit &&
             groups[g].optimizer == info.optimizer && groups[g].matrices == matrix;
    });
    const int64_t size = info.numel * static_cast<int64_t>(c10::elementSize(info.dtype));
    if (found != open.end() && unit == 0) {
      const int64_t limit = *found == 0 ? options.first_bucket_bytes : options.bucket_bytes;
      if (bytes[*found] + size > limit) open.erase(found), found = open.end();
    }
    if (found == open.end()) {
      GroupLayout group;
      group.dtype = info.dtype, group.trained = info.trained, group.unit = unit, group.optimizer = info.optimizer;
      group.matrices = matrix;
      groups.push_back(std::move(group));
      bytes.push_back(0);
      open.push_back(groups.size() - 1);
      found = open.end() - 1;
    }
    groups[*found].parameters.push_back({static_cast<int>(i), {}});
    bytes[*found] += size;
  }
  for (auto& group : groups) assign_ranges(group, parameters, options);
  return groups;
}

}  // namespace levin
