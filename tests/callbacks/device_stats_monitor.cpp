#include "levin/callbacks/device_stats_monitor.h"

#include <dlfcn.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "../../src/callbacks/nvml.h"
#include "../trainer/toy.h"
#include "fake_root.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::DeviceStatsMonitor;
using levin::detail::NvmlDevice;

BOOST_AUTO_TEST_SUITE(callbacks_device_stats_monitor)

namespace {

const std::string stats = "DeviceStatsMonitor.on_train_batch_end/";

levin::NamedValues logged(const levin::DeviceStatsMonitorConfig& config) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1, .log_every_n_steps = 2}, runtime());
  trainer.add_callback(std::make_shared<DeviceStatsMonitor>(config));
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  return trainer.report().metrics;
}

}  // namespace

BOOST_AUTO_TEST_CASE(processes_and_hosts_are_logged) {
  const auto values = logged({});
  const auto value = [&](const std::string& name) {
    const double* found = levin::find_value(values, stats + name);
    BOOST_REQUIRE_MESSAGE(found, name << " is not among " << levin::names_of(values));
    return *found;
  };
  for (const auto* name : {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"})
    BOOST_TEST((value(name) >= 0 && value(name) <= 100.5), name);
  BOOST_TEST(value("process_cpu_percent") > 0);
  BOOST_TEST((value("process_rss_bytes") > 10e6 && value("process_rss_bytes") < 100e9));
  const bool has_largest = levin::find_value(values, stats + "process_rss_bytes_max");
  BOOST_TEST(has_largest == (runtime().size() > 1));
  if (has_largest) BOOST_TEST(value("process_rss_bytes_max") >= value("process_rss_bytes"));
  BOOST_TEST(!levin::find_value(values, stats + "gpu_memory_bytes"));
  const auto none = logged({.cpu_stats = false});
  BOOST_TEST(!levin::find_value(none, stats + "cpu_percent"));
}

// Of a job that may use a tenth of its host.
BOOST_AUTO_TEST_CASE(the_limit_of_a_job_counts) {
  const FakeRoot root;
  root.set("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable: 3000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
  BOOST_TEST(levin::HostMemoryReader(root.path).read().host_percent == 25);
  root.set("proc/self/cgroup", "0::/job/step\n");
  root.set("sys/fs/cgroup/job/memory.max", "409600\n");
  root.set("sys/fs/cgroup/job/memory.current", "204800\n");
  const levin::HostMemoryReader reader(root.path);
  BOOST_TEST(reader.read().host_percent == 50);
  root.set("sys/fs/cgroup/job/memory.current", "307200\n");
  BOOST_TEST(reader.read().host_percent == 75);
}

BOOST_AUTO_TEST_CASE(counters_follow_the_work_of_the_process) {
  const auto before = levin::HostCounters::now();
  const auto began = std::chrono::steady_clock::now();
  volatile double work = 0;
  while (std::chrono::steady_clock::now() - began < std::chrono::milliseconds(100)) work = work + 1;
  const auto after = levin::HostCounters::now();
  BOOST_TEST(after.process_seconds > before.process_seconds);
  BOOST_TEST(after.process_seconds - before.process_seconds < 60);
  BOOST_TEST(after.busy_seconds >= before.busy_seconds);
  BOOST_TEST(after.all_seconds >= before.all_seconds + after.busy_seconds - before.busy_seconds - 1e-6);
}

BOOST_AUTO_TEST_CASE(a_run_that_logs_nothing_is_refused) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1, .logger = false}, runtime());
  trainer.add_callback(std::make_shared<DeviceStatsMonitor>(levin::DeviceStatsMonitorConfig{}));
  const auto module = trainer.build<Toy>();
  try {
    trainer.fit(*module, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {
    BOOST_TEST(std::string(error.what()).find("device stats monitor in a run that logs nothing") != std::string::npos, error.what());
  }
}

BOOST_AUTO_TEST_CASE(visible_devices_decide_which_gpu_it_is) {
  BOOST_TEST(NvmlDevice::physical_name(1, nullptr) == "1");
  BOOST_TEST(NvmlDevice::physical_name(1, "2,5,7") == "5");
  BOOST_TEST(NvmlDevice::physical_name(0, "GPU-1234") == "GPU-1234");
  BOOST_TEST(NvmlDevice::physical_name(1, "2").empty());
  BOOST_TEST(NvmlDevice::physical_name(0, "").empty());
  BOOST_TEST(!NvmlDevice::open(0, ""));
}

// Units and GPUs by number and by UUID, from a library that has the driver's name and answers for three GPUs.
BOOST_AUTO_TEST_CASE(a_gpu_has_the_values_of_nvml) {
  const auto library = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "callbacks/libnvidia-ml.so.1";
  const std::unique_ptr<void, int (*)(void*)> stand_in(dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL), dlclose);
  BOOST_REQUIRE_MESSAGE(stand_in != nullptr, dlerror());  // what is loaded already is found by its name
  const auto by_number = NvmlDevice::open(1, nullptr), by_uuid = NvmlDevice::open(0, "GPU-bbbb,GPU-aaaa");
  BOOST_REQUIRE((by_number && by_uuid));
  for (const auto* gpu : {by_number.get(), by_uuid.get()}) {
    const auto values = gpu->stats();
    BOOST_TEST(values.utilization_percent.value() == 37);
    BOOST_TEST(values.memory_bytes.value() == 5.0 * (1 << 30));
    BOOST_TEST(values.temperature_celsius.value() == 61);
    BOOST_TEST(values.power_watts.value() == 123.456);
  }
  const auto without_power = NvmlDevice::open(0, "2,1")->stats();
  BOOST_TEST(without_power.utilization_percent.value() == 99);
  BOOST_TEST(!without_power.power_watts);
  BOOST_TEST(!NvmlDevice::open(3, nullptr));
  BOOST_TEST(!NvmlDevice::open(0, "GPU-dddd"));
}

BOOST_AUTO_TEST_SUITE_END()
