#include "levin/device/accelerator.h"

#include "levin/core/error.h"
#include "levin/device/plugin.h"

namespace levin {
namespace {

std::unique_ptr<Accelerator> create_from_plugin(const std::string& name) {
  const AcceleratorPlugin& plugin = load_plugin(name);
  try {
    return std::unique_ptr<Accelerator>(plugin.create());
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // a library's, whose first line has the cause
    const std::string text = error.what();
    throw ConfigError(fmt::format("accelerator {} could not start: {}", name, text.substr(0, text.find('\n'))),
                      "check the device, or use accelerator: cpu", "device");
  }
}

}  // namespace

AcceleratorRegistry::AcceleratorRegistry() { factories_["cpu"] = make_cpu_accelerator; }

void AcceleratorRegistry::add(const std::string& name, Factory factory) {
  if (name == "auto" || !factories_.emplace(name, std::move(factory)).second)
    throw UsageError("device", fmt::format("accelerator \"{}\" is already registered", name), "register it once, under its own name");
}

std::vector<std::string> AcceleratorRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

std::unique_ptr<Accelerator> AcceleratorRegistry::create(const std::string& name, const Log& log) const {
  if (name == "auto") return create_best(log);
  const std::string& known = name == "gpu" ? "cuda" : name;
  if (const auto found = factories_.find(known); found != factories_.end()) return found->second();
  return create_from_plugin(known);
}

std::unique_ptr<Accelerator> AcceleratorRegistry::create_best(const Log& log) const {
  for (const auto& [candidate, factory] : factories_)
    if (candidate != "cpu")
      if (auto accelerator = factory(); accelerator->device_count() > 0) return accelerator;
  if (const auto driver = find_nvidia_driver(); driver.devices > 0 && !factories_.contains("cuda")) try {
      return create_from_plugin("cuda");
    } catch (const ConfigError& error) {
      log.warning("[device] this machine has a GPU, but the CPU is used (accelerator: cpu silences this warning): {}", error.what());
    }
  return make_cpu_accelerator();
}

}  // namespace levin
