#include "levin/device/accelerator.h"

#include "levin/core/error.h"

namespace levin {

AcceleratorRegistry::AcceleratorRegistry() { factories_["cpu"] = make_cpu_accelerator; }

void AcceleratorRegistry::add(const std::string& name, Factory factory) {
  if (name == "auto" || !factories_.emplace(name, std::move(factory)).second)
    throw UsageError("device", fmt::format("an accelerator \"{}\" is registered already", name), "register it once, under its own name");
}

std::vector<std::string> AcceleratorRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

std::unique_ptr<Accelerator> AcceleratorRegistry::create(const std::string& name) const {
  if (name == "auto") {
    for (const auto& [candidate, factory] : factories_)
      if (candidate != "cpu")
        if (auto accelerator = factory(); accelerator->device_count() > 0) return accelerator;
    return make_cpu_accelerator();
  }
  const auto found = factories_.find(name);
  if (found != factories_.end()) return found->second();
  std::string known = "auto";
  for (const auto& [other, factory] : factories_) known += ", " + other;
  throw ConfigError(fmt::format("there is no accelerator \"{}\" in this program", name), "choose one of: " + known, "device");
}

}  // namespace levin
