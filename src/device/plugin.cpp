#include "levin/device/plugin.h"

#include <dlfcn.h>

#include <filesystem>

#include "../core/file.h"
#include "levin/core/error.h"

namespace levin {
namespace {

constexpr const char* entry_point = "levin_accelerator_plugin";

// The directory of the library that contains this function.
std::filesystem::path own_directory() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&own_directory), &info);
  std::error_code unseen;
  return std::filesystem::absolute(info.dli_fname, unseen).lexically_normal().parent_path();
}

std::string names_beside(const std::filesystem::path& directory) {
  std::string names = "auto, cpu";
  std::error_code ignored;
  for (const auto& path : detail::list_directory(directory, ignored)) {
    const std::string file = path.filename(), begin = "liblevin_", end = ".so";
    if (file.starts_with(begin) && file.ends_with(end) && file.size() > begin.size() + end.size())
      names += ", " + file.substr(begin.size(), file.size() - begin.size() - end.size());
  }
  return names;
}

std::filesystem::path find_plugin(const std::string& accelerator) {
  std::error_code ignored;
  if (accelerator.find('/') != std::string::npos) {
    if (!std::filesystem::exists(accelerator, ignored))
      throw ConfigError(fmt::format("accelerator {}: file not found", accelerator), "pass the path of a plug-in, or a name", "device");
    return accelerator;
  }
  const auto directory = own_directory();
  auto file = directory / fmt::format("liblevin_{}.so", accelerator);
  if (!std::filesystem::exists(file, ignored))
    throw ConfigError(fmt::format("unknown accelerator \"{}\": {} not found", accelerator, file.string()),
                      fmt::format("choose one of: {}; or pass the path of a plug-in", names_beside(directory)), "device");
  return file;
}

std::string loader_message() {
  const char* message = dlerror();
  return message ? message : "the loader gave no reason";
}

}  // namespace

const AcceleratorPlugin& load_plugin(const std::string& accelerator) {
  if (accelerator == "cuda")
    if (const auto driver = find_nvidia_driver(); driver.devices == 0)
      throw ConfigError("accelerator cuda: no NVIDIA GPU found: " + driver.problem,
                        "run on a machine with a GPU and its driver, or use accelerator: cpu", "device");
  const auto file = find_plugin(accelerator);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library)
    throw ConfigError(fmt::format("the plug-in {} cannot be loaded: {}", file.string(), loader_message()),
                      file.filename() == "liblevin_cuda.so" ? "it needs a LibTorch with CUDA: run set-up with ACCELERATOR=gpu"
                                                            : "install the libraries that it is linked to",
                      "device");
  auto* entry = reinterpret_cast<const AcceleratorPlugin* (*)()>(dlsym(library, entry_point));
  if (!entry)
    throw ConfigError(fmt::format("{} is not a Levin plug-in: function {} is missing", file.string(), entry_point),
                      "define it with LEVIN_ACCELERATOR_PLUGIN", "device");
  const AcceleratorPlugin& plugin = *entry();
  if (plugin.interface != plugin_interface)
    throw ConfigError(
        fmt::format("the plug-in {} has plug-in interface version {}, this program {}", file.string(), plugin.interface, plugin_interface),
        "build the plug-in and the program with the same Levin", "device");
  if (std::string(plugin.libtorch) != TORCH_VERSION)
    throw ConfigError(
        fmt::format("the plug-in {} was built with LibTorch {}, Levin with {}", file.string(), plugin.libtorch, TORCH_VERSION),
        "build both with the same LibTorch", "device");
  return plugin;
}

NvidiaDriver find_nvidia_driver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) return {0, "no driver: " + loader_message()};
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(library, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(library, "cuDeviceGetCount"));
  if (!init || !count) return {0, "libcuda.so.1 is not an NVIDIA driver: cuInit is missing"};
  NvidiaDriver driver;
  if (const int code = init(0); code != 0)
    driver.problem = fmt::format("the driver's cuInit returned {}{}", code, code == 100 ? " (no device)" : "");
  else if (count(&driver.devices) != 0 || driver.devices <= 0)
    driver = {0, "the driver sees no device (is CUDA_VISIBLE_DEVICES empty?)"};
  return driver;
}

}  // namespace levin
