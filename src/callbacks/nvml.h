#pragma once
// What NVIDIA's management library says about a GPU. The library belongs to the driver: it is looked for at run time.
#include <memory>
#include <optional>
#include <string>

namespace levin::detail {

class NvmlDevice {
 public:
  struct Stats {
    std::optional<double> utilization_percent, memory_bytes, temperature_celsius, power_watts;
  };

  /// The GPU that CUDA numbers `index` in this process, given CUDA_VISIBLE_DEVICES (null: not set). Null without
  /// NVML, or for a device unknown to it.
  static std::unique_ptr<NvmlDevice> open(int index, const char* visible_devices);
  ~NvmlDevice();
  NvmlDevice(const NvmlDevice&) = delete;
  NvmlDevice& operator=(const NvmlDevice&) = delete;

  /// A value that the device does not support is missing.
  Stats stats() const;

  /// NVML's number of a device, or a UUID, by CUDA_VISIBLE_DEVICES: "2,5" makes device 1 "5". Empty if the list has fewer.
  static std::string physical_name(int index, const char* visible_devices);

 private:
  struct Library;
  NvmlDevice(std::unique_ptr<Library> library, void* device);

  std::unique_ptr<Library> library_;
  void* device_;
};

}  // namespace levin::detail
