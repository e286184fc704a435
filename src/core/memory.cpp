#include "levin/core/memory.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace levin {

std::string bytes_text(int64_t bytes) {
  auto value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"kB", "MB", "GB", "TB", "PB"})
    if (value >= 999.5) value /= 1000, unit = next;
  return bytes < 1000 ? fmt::format("{} B", bytes) : fmt::format("{:.3g} {}", value, unit);
}

int64_t available_memory() {
  int64_t bytes = std::numeric_limits<int64_t>::max();
  std::ifstream system("/proc/meminfo");
  for (std::string word; system >> word;)
    if (int64_t kib = 0; word == "MemAvailable:" && system >> kib) bytes = kib << 10;
  int64_t limit = 0, used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used)
    bytes = std::min(bytes, std::max<int64_t>(0, limit - used));
  return bytes;
}

int64_t available_memory_of_domain() {
  unsigned cpu = 0, domain = 0;
  std::ifstream file(getcpu(&cpu, &domain) == 0 ? fmt::format("/sys/devices/system/node/node{}/meminfo", domain) : std::string());
  int64_t bytes = 0;
  for (std::string word; file >> word;)  // the page cache shrinks when memory is short
    if (int64_t kib = 0; (word == "MemFree:" || word == "Active(file):" || word == "Inactive(file):") && file >> kib) bytes += kib << 10;
  return bytes > 0 ? std::min(bytes, available_memory()) : available_memory();
}

}  // namespace levin
