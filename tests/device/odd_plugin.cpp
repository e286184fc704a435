// Libraries that must not be taken for plug-ins of this Levin. ODD says what is odd about one.
#include <cstdint>

#include "levin/device/plugin.h"

#ifdef ODD_INTERFACE
// Only the first number is sure to be there.
extern "C" const uint32_t* levin_accelerator_plugin() {
  static const uint32_t number = ODD_INTERFACE;
  return &number;
}
#elif defined(ODD_LIBTORCH)
extern "C" const levin::AcceleratorPlugin* levin_accelerator_plugin() {
  static const levin::AcceleratorPlugin plugin{levin::plugin_interface, ODD_LIBTORCH, nullptr};
  return &plugin;
}
#else
extern "C" const char* some_other_library() { return "of no use"; }
#endif
