#include "levin/callbacks/device_stats_monitor.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../core/memory_groups.h"
#include "levin/comm/host_values.h"
#include "levin/core/number_text.h"
#include "levin/trainer/trainer.h"
#include "nvml.h"
#include "require_logger.h"

namespace levin {
namespace {

constexpr const char* stats_prefix = "DeviceStatsMonitor.on_train_batch_end/";

std::vector<std::string> words_of(std::istream&& text) { return {std::istream_iterator<std::string>(text), {}}; }

std::string first_line(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

double word_as_number(const std::vector<std::string>& words, size_t i) {
  return i < words.size() ? parse_number<double>(words[i]).value_or(0) : 0;
}

double monotonic_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

}  // namespace

HostCounters HostCounters::now() {
  HostCounters counters;
  timespec spent{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  counters.process_seconds = static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) * 1e-9;
  // cpu user nice system idle iowait irq softirq steal …, in ticks; guests are in user.
  const auto words = words_of(std::istringstream(first_line("/proc/stat")));
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  constexpr size_t first = 1, idle = 4, iowait = 5, last = 8;
  for (size_t i = first; i <= last; i++) {
    const double seconds = word_as_number(words, i) / ticks;
    counters.all_seconds += seconds;
    if (i != idle && i != iowait) counters.busy_seconds += seconds;
  }
  return counters;
}

HostMemoryReader::HostMemoryReader(std::filesystem::path root) : root_(std::move(root)) {
  for (auto& group : detail::memory_groups(root_))
    if (group.limit()) limited_groups_.push_back(std::move(group));
}

HostMemoryReader::~HostMemoryReader() = default;

HostMemory HostMemoryReader::read() const {
  HostMemory memory;
  memory.process_bytes = word_as_number(words_of(std::ifstream(root_ / "proc/self/statm")), 1) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const auto words = words_of(std::ifstream(root_ / "proc/meminfo"));
  const auto line = [&](std::string_view name) {
    for (size_t i = 0; i < words.size(); i++)
      if (words[i] == name) return word_as_number(words, i + 1);
    return 0.0;
  };
  const double total = line("MemTotal:"), swap = line("SwapTotal:");
  memory.host_percent = percent(total - line("MemAvailable:"), total);
  for (const auto& group : limited_groups_)
    if (const auto limit = group.limit())
      memory.host_percent = std::max(memory.host_percent, percent(static_cast<double>(group.used()), static_cast<double>(*limit)));
  memory.swap_percent = percent(swap - line("SwapFree:"), swap);
  return memory;
}

DeviceStatsMonitor::DeviceStatsMonitor(const DeviceStatsMonitorConfig& config) : config_(config) {}
DeviceStatsMonitor::~DeviceStatsMonitor() = default;

void DeviceStatsMonitor::on_train_start() {
  detail::require_logger(trainer(), "a device stats monitor");
  const auto device = trainer().session().device();
  if (device.is_cuda()) gpu_ = detail::NvmlDevice::open(device.index(), std::getenv("CUDA_VISIBLE_DEVICES"));
  before_ = HostCounters::now();
  memory_ = std::make_unique<HostMemoryReader>();
  wall_before_ = monotonic_seconds();
  logged_step_ = trainer().global_step();
}

void DeviceStatsMonitor::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (step == logged_step_ || step == 0 || step % *trainer().config().log_every_n_steps != 0) return;
  logged_step_ = step;
  log();
}

void DeviceStatsMonitor::on_train_end() { gpu_.reset(); }

// Ranks may lack a value: those that have it make its mean.
void DeviceStatsMonitor::log() {
  auto& session = trainer().session();
  std::vector<std::pair<const char*, std::optional<double>>> own;
  if (config_.cpu_stats.value_or(session.device().is_cpu())) {
    const auto now = HostCounters::now();
    const auto memory = memory_->read();
    const double wall = monotonic_seconds();
    own.insert(own.end(), {{"cpu_percent", percent(now.busy_seconds - before_.busy_seconds, now.all_seconds - before_.all_seconds)},
                           {"cpu_vm_percent", memory.host_percent},
                           {"cpu_swap_percent", memory.swap_percent},
                           {"process_cpu_percent", percent(now.process_seconds - before_.process_seconds, wall - wall_before_)},
                           {"process_rss_bytes", memory.process_bytes}});
    before_ = now, wall_before_ = wall;
  }
  if (session.device().is_cuda()) {
    const auto stats = gpu_ ? gpu_->stats() : detail::NvmlDevice::Stats();
    own.insert(own.end(), {{"gpu_utilization_percent", stats.utilization_percent},
                           {"gpu_memory_bytes", stats.memory_bytes},
                           {"gpu_temperature_celsius", stats.temperature_celsius},
                           {"gpu_power_watts", stats.power_watts}});
  }
  if (own.empty()) return;
  std::vector<double> sums, largest;
  for (const auto& [name, value] : own) {
    sums.push_back(value.value_or(0));
    sums.push_back(value ? 1 : 0);
    largest.push_back(value.value_or(-std::numeric_limits<double>::infinity()));
  }
  auto& ranks = session.communicator();
  sums = all_sum(ranks, std::move(sums));
  largest = all_max(ranks, std::move(largest));
  NamedValues values;
  for (size_t i = 0; i < own.size(); i++) {
    const double known = sums[2 * i + 1];
    if (known == 0) continue;
    const auto name = fmt::format("{}{}", stats_prefix, own[i].first);
    values.emplace_back(name, sums[2 * i] / known);
    if (session.size() > 1) values.emplace_back(name + "_max", largest[i]);
  }
  trainer().log_metrics(values);
}

}  // namespace levin
