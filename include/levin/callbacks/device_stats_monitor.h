#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

namespace detail {
struct MemoryGroup;
class NvmlDevice;
}  // namespace detail

/// Lightning's argument of DeviceStatsMonitor.
struct DeviceStatsMonitorConfig {
  std::optional<bool> cpu_stats = {};
};
LEVIN_CONFIG(DeviceStatsMonitorConfig, (cpu_stats, "log processors and memory of the host; null: where ranks compute on it"))
LEVIN_CHOICE(DeviceStatsMonitorConfig, "device_stats_monitor")

/// Counters of this process and its host since some moment, from /proc.
struct HostCounters {
  double process_seconds = 0;                ///< of processor time, in all threads
  double busy_seconds = 0, all_seconds = 0;  ///< of all processors of the host
  static HostCounters now();
};

/// Memory of this process and its host: bytes, and percent of the host's. Where a control group of the process is fuller, as that of a
/// batch job may be, host_percent is that of its limit.
struct HostMemory {
  double process_bytes = 0, host_percent = 0, swap_percent = 0;
};

/// Finds the control groups that limit this process once, and reads how full they are each time.
class HostMemoryReader {
 public:
  /// `root`: for tests, in place of /.
  explicit HostMemoryReader(std::filesystem::path root = "/");
  ~HostMemoryReader();
  HostMemory read() const;

 private:
  std::filesystem::path root_;
  std::vector<detail::MemoryGroup> limited_groups_;
};

/// Logs how busy hosts and devices are, every log_every_n_steps steps, as DeviceStatsMonitor.on_train_batch_end/NAME. Lightning's names:
/// cpu_percent, cpu_vm_percent, cpu_swap_percent. And process_cpu_percent (100: one core), process_rss_bytes, and for an NVIDIA GPU
/// gpu_utilization_percent, gpu_memory_bytes, gpu_temperature_celsius, gpu_power_watts, by NVML, if the driver's library is there. A value
/// is the mean over the ranks since the one logged before; NAME_max is the largest rank's. Each time costs two small all-reduces.
/// ConfigError where nothing is logged.
class DeviceStatsMonitor : public Callback {
 public:
  using Config = DeviceStatsMonitorConfig;
  explicit DeviceStatsMonitor(const DeviceStatsMonitorConfig& config = {});
  ~DeviceStatsMonitor() override;

  void on_train_start() override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_end() override;

 private:
  void log();

  DeviceStatsMonitorConfig config_;
  HostCounters before_;
  std::unique_ptr<HostMemoryReader> memory_;
  double wall_before_ = 0;
  int64_t logged_step_ = -1;
  std::unique_ptr<detail::NvmlDevice> gpu_;
};

}  // namespace levin
