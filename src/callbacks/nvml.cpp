#include "nvml.h"

#include <dlfcn.h>

#include <cctype>
#include <cstdlib>
#include <string_view>

namespace levin::detail {
namespace {

// The part of NVML's ABI that is used, which is the same in all its versions.
constexpr int nvml_success = 0;
struct NvmlUtilization {
  unsigned gpu, memory;
};
struct NvmlMemory {
  unsigned long long total, free, used;
};
constexpr int nvml_temperature_gpu = 0;

bool is_number(std::string_view text) {
  for (const char c : text)
    if (!std::isdigit(static_cast<unsigned char>(c))) return false;
  return !text.empty() && text.size() < 6;
}

}  // namespace

struct NvmlDevice::Library {
  Library() : handle(dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL)) {
    started = load(init, "nvmlInit_v2") && load(shutdown, "nvmlShutdown") && init() == nvml_success;
    load(by_index, "nvmlDeviceGetHandleByIndex_v2");
    load(by_uuid, "nvmlDeviceGetHandleByUUID");
    load(utilization, "nvmlDeviceGetUtilizationRates");
    load(memory, "nvmlDeviceGetMemoryInfo");
    load(temperature, "nvmlDeviceGetTemperature");
    load(power, "nvmlDeviceGetPowerUsage");
  }
  ~Library() {
    if (started) shutdown();
    if (handle) dlclose(handle);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  template <class Function>
  bool load(Function*& function, const char* name) const {
    if (handle) function = reinterpret_cast<Function*>(dlsym(handle, name));
    return function != nullptr;
  }

  void* handle;
  bool started = false;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*by_index)(unsigned, void**) = nullptr;
  int (*by_uuid)(const char*, void**) = nullptr;
  int (*utilization)(void*, NvmlUtilization*) = nullptr;
  int (*memory)(void*, NvmlMemory*) = nullptr;
  int (*temperature)(void*, int, unsigned*) = nullptr;
  int (*power)(void*, unsigned*) = nullptr;
};

NvmlDevice::NvmlDevice(std::unique_ptr<Library> library, void* device) : library_(std::move(library)), device_(device) {}
NvmlDevice::~NvmlDevice() = default;

std::string NvmlDevice::physical_name(int index, const char* visible_devices) {
  if (!visible_devices) return std::to_string(index);
  std::string_view rest = visible_devices;
  for (int i = 0; !rest.empty(); i++) {
    const size_t comma = rest.find(',');
    if (i == index) return std::string(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return {};
}

std::unique_ptr<NvmlDevice> NvmlDevice::open(int index, const char* visible_devices) {
  auto library = std::make_unique<Library>();
  const auto name = physical_name(index, visible_devices);
  if (!library->started || name.empty()) return nullptr;
  void* device = nullptr;
  const bool found = is_number(name)
                         ? library->by_index && library->by_index(static_cast<unsigned>(std::atoi(name.c_str())), &device) == nvml_success
                         : library->by_uuid && library->by_uuid(name.c_str(), &device) == nvml_success;
  if (!found) return nullptr;
  return std::unique_ptr<NvmlDevice>(new NvmlDevice(std::move(library), device));
}

NvmlDevice::Stats NvmlDevice::stats() const {
  Stats stats;
  NvmlUtilization utilization{};
  NvmlMemory memory{};
  unsigned celsius = 0, milliwatts = 0;
  if (library_->utilization && library_->utilization(device_, &utilization) == nvml_success) stats.utilization_percent = utilization.gpu;
  if (library_->memory && library_->memory(device_, &memory) == nvml_success) stats.memory_bytes = static_cast<double>(memory.used);
  if (library_->temperature && library_->temperature(device_, nvml_temperature_gpu, &celsius) == nvml_success)
    stats.temperature_celsius = celsius;
  if (library_->power && library_->power(device_, &milliwatts) == nvml_success) stats.power_watts = milliwatts / 1e3;
  return stats;
}

}  // namespace levin::detail
