#include "levin/core/memory.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "levin/core/number_text.h"
#include "memory_groups.h"

namespace levin {

namespace {

// A file's words, of which numbers are parsed without the program's locale.
std::vector<std::string> words_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istream_iterator<std::string>(in), {}};
}

/// The sum in bytes of a meminfo file's named lines, which are in KiB.
int64_t sum_of_meminfo(const std::filesystem::path& file, std::initializer_list<std::string_view> names) {
  const auto words = words_of(file);
  int64_t bytes = 0;
  for (size_t i = 0; i + 1 < words.size(); i++)
    if (std::find(names.begin(), names.end(), words[i]) != names.end()) bytes += parse_number<int64_t>(words[i + 1]).value_or(0) << 10;
  return bytes;
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  auto value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"kB", "MB", "GB", "TB", "PB"})
    if (value >= 999.5) value /= 1000, unit = next;
  return bytes < 1000 ? fmt::format("{} B", bytes) : fmt::format("{:.3g} {}", value, unit);
}

int64_t detail::available_memory_below(const std::filesystem::path& root) {
  int64_t bytes = sum_of_meminfo(root / "proc/meminfo", {"MemAvailable:"});
  if (bytes == 0) bytes = std::numeric_limits<int64_t>::max();
  for (const auto& group : memory_groups(root))
    if (const auto limit = group.limit()) bytes = std::min(bytes, std::max<int64_t>(0, *limit - group.used()));
  return bytes;
}

int64_t available_memory() { return detail::available_memory_below("/"); }

std::optional<int64_t> memory_limit() {
  std::optional<int64_t> least;
  for (const auto& group : detail::memory_groups())
    if (const auto limit = group.limit()) least = std::min(*limit, least.value_or(*limit));
  return least;
}

int64_t available_memory_of_domain() {
  unsigned cpu = 0, domain = 0;
  if (getcpu(&cpu, &domain) != 0) return available_memory();
  // Pages of files are reclaimed when memory is short.
  const int64_t bytes =
      sum_of_meminfo(fmt::format("/sys/devices/system/node/node{}/meminfo", domain), {"MemFree:", "Active(file):", "Inactive(file):"});
  return bytes > 0 ? std::min(bytes, available_memory()) : available_memory();
}

}  // namespace levin
