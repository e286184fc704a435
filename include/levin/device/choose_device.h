#pragma once
#include <memory>
#include <string>

#include "levin/device/accelerator.h"

namespace levin {

class Topology;

/// The accelerator and device of a rank.
struct ChosenDevice {
  std::unique_ptr<Accelerator> accelerator;
  c10::Device device;
};

/// The accelerator of this name, and this rank's device. Collective: when a rank has none, or "auto" would take another on some ranks, all
/// of them get a ConfigError; when a rank fails, all get its error.
ChosenDevice choose_device(const AcceleratorRegistry& accelerators, const std::string& name, const MpiRuntime& runtime,
                           const Topology& topology);

}  // namespace levin
