// Prints what DeviceStatsMonitor knows about this process and its host, a line for each line of its input.
#include <fmt/format.h>

#include <iostream>
#include <string>

#include "levin/callbacks/device_stats_monitor.h"

int main() {
  const levin::HostMemoryReader reader;
  for (std::string line; std::getline(std::cin, line);) {
    const auto counters = levin::HostCounters::now();
    const auto memory = reader.read();
    std::cout << fmt::format("{} {} {} {} {} {}", counters.process_seconds, counters.busy_seconds, counters.all_seconds,
                             memory.process_bytes, memory.host_percent, memory.swap_percent)
              << std::endl;
  }
}
