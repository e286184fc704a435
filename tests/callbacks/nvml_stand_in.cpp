// NVIDIA's management library with the signatures of nvml.h: three GPUs, of which the last cannot tell its power.
#include <cstring>

extern "C" {

enum nvmlReturn_t { NVML_SUCCESS = 0, NVML_ERROR_UNINITIALIZED = 1, NVML_ERROR_INVALID_ARGUMENT = 2, NVML_ERROR_NOT_SUPPORTED = 3 };
enum nvmlTemperatureSensors_t { NVML_TEMPERATURE_GPU = 0 };
struct nvmlUtilization_t {
  unsigned int gpu, memory;
};
struct nvmlMemory_t {
  unsigned long long total, free, used;
};
struct nvmlDevice_st {
  const char* uuid;
  unsigned int utilization, celsius, milliwatts;  // 0 milliwatts: not supported
  unsigned long long used;
};
using nvmlDevice_t = nvmlDevice_st*;

nvmlReturn_t nvmlInit_v2();
nvmlReturn_t nvmlShutdown();
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t* device);
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device);
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* utilization);
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory);
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int* celsius);
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int* milliwatts);
}

namespace {

nvmlDevice_st devices[] = {{"GPU-aaaa", 0, 30, 55'250, 1}, {"GPU-bbbb", 37, 61, 123'456, 5'368'709'120}, {"GPU-cccc", 99, 80, 0, 2}};
int started = 0;

}  // namespace

nvmlReturn_t nvmlInit_v2() {
  started++;
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlShutdown() { return started-- > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t* device) {
  if (started == 0) return NVML_ERROR_UNINITIALIZED;
  if (index > 2) return NVML_ERROR_INVALID_ARGUMENT;
  *device = &devices[index];
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  for (auto& each : devices)
    if (std::strcmp(each.uuid, uuid) == 0) {
      *device = &each;
      return NVML_SUCCESS;
    }
  return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* utilization) {
  *utilization = {device->utilization, 11};
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  *memory = {8'589'934'592, 8'589'934'592 - device->used, device->used};
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int* celsius) {
  if (sensor != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
  *celsius = device->celsius;
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int* milliwatts) {
  if (device->milliwatts == 0) return NVML_ERROR_NOT_SUPPORTED;
  *milliwatts = device->milliwatts;
  return NVML_SUCCESS;
}
