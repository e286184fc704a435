#pragma once
#include <torch/csrc/api/include/torch/version.h>

#include <cstdint>
#include <string>

namespace levin {

class Accelerator;

/// The number of the interface between Levin and its plug-ins. It counts up with every change of accelerator.h, communicator.h or this
/// file, for a plug-in calls their functions by their places.
inline constexpr uint32_t plugin_interface = 2;

/// A plug-in's description, returned by its entry point `extern "C" const AcceleratorPlugin* levin_accelerator_plugin()`. The number stands
/// first in all versions.
struct AcceleratorPlugin {
  uint32_t interface;        ///< plugin_interface, as the plug-in was compiled with it
  const char* libtorch;      ///< the same for TORCH_VERSION
  Accelerator* (*create)();  ///< a new accelerator, which the caller owns; may throw
};

/// The plug-in of an accelerator: liblevin_NAME.so beside liblevin.so, or the file that `accelerator` names where it has a slash. It must
/// be loaded before anything else is asked of LibTorch, whose look for CUDA happens once; it is never unloaded, and loading it again
/// changes nothing. ConfigError where it is missing, cannot be loaded, is no plug-in, or was built for another Levin or LibTorch.
const AcceleratorPlugin& load_plugin(const std::string& accelerator);

/// NVIDIA GPUs that this process can see, counted by the driver, without LibTorch.
struct NvidiaDriver {
  int devices = 0;
  std::string problem;  ///< why it has none
};
NvidiaDriver find_nvidia_driver();

}  // namespace levin

// NOLINTBEGIN(bugprone-macro-parentheses): a type
/// Makes a library a plug-in: LEVIN_ACCELERATOR_PLUGIN(MyAccelerator), once, outside of namespaces. It must be linked to liblevin.so.
#define LEVIN_ACCELERATOR_PLUGIN(Class)                                                                          \
  extern "C" __attribute__((visibility("default"))) const levin::AcceleratorPlugin* levin_accelerator_plugin() { \
    static const levin::AcceleratorPlugin plugin{levin::plugin_interface, TORCH_VERSION,                         \
                                                 []() -> levin::Accelerator* { return new Class; }};             \
    return &plugin;                                                                                              \
  }
// NOLINTEND(bugprone-macro-parentheses)
