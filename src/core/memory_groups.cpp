#include "memory_groups.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "levin/core/number_text.h"

namespace levin::detail {
namespace {

constexpr int64_t no_limit = std::numeric_limits<int64_t>::max();

int64_t bytes_in(const std::filesystem::path& file, int64_t otherwise) {
  std::ifstream in(file);
  std::string word;
  in >> word;
  return parse_number<int64_t>(word).value_or(otherwise);  // version 2 writes no limit as "max"
}

// "inactive_file 4096" and the like among the lines of memory.stat.
int64_t file_bytes(const MemoryGroup& group) {
  const std::string prefix = group.version2 ? "" : "total_";  // of version 1: with the groups below
  std::ifstream in(group.folder / "memory.stat");
  int64_t sum = 0;
  std::string name, number;
  while (in >> name >> number)
    if (name == prefix + "active_file" || name == prefix + "inactive_file") sum += parse_number<int64_t>(number).value_or(0);
  return sum;
}

}  // namespace

std::optional<int64_t> MemoryGroup::limit() const {
  int64_t bytes = no_limit;
  if (version2)  // memory.high does not kill: beyond it the kernel makes processes wait
    bytes = std::min(bytes_in(folder / "memory.max", no_limit), bytes_in(folder / "memory.high", no_limit));
  else
    bytes = bytes_in(folder / "memory.limit_in_bytes", no_limit);
  return bytes > no_limit / 2 ? std::nullopt : std::optional(bytes);  // version 1 writes no limit as a large number
}

int64_t MemoryGroup::used() const {
  const auto bytes = bytes_in(folder / (version2 ? "memory.current" : "memory.usage_in_bytes"), 0);
  return std::max<int64_t>(0, bytes - file_bytes(*this));
}

std::vector<MemoryGroup> memory_groups(const std::filesystem::path& root) {
  std::vector<MemoryGroup> groups;
  std::ifstream lines(root / "proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {  // "0::/job/step" of version 2, "4:memory:/job/step" of version 1
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool version2 = controllers.empty();
    if (!version2 && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    const auto top = root / (version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    auto below = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (; !below.empty() && *below.begin() != ".."; below = below.parent_path()) groups.push_back({top / below, version2});
    groups.push_back({top, version2});
  }
  return groups;
}

}  // namespace levin::detail
