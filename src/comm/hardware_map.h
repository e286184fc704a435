#pragma once
// hwloc's handles.
#include <hwloc.h>

#include "levin/comm/communicator_error.h"

namespace levin::detail {

/// The cores and NUMA domains of this host, as far as this process may see them.
struct HardwareMap {
  HardwareMap() {
    // Cores and memory only: discovering devices would dominate the time.
    if (hwloc_topology_init(&value) != 0) throw CommunicatorError("hwloc_topology_init failed");
    hwloc_topology_set_all_types_filter(value, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(value, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(value) != 0) {
      hwloc_topology_destroy(value);
      throw CommunicatorError("hwloc_topology_load failed");
    }
  }
  ~HardwareMap() { hwloc_topology_destroy(value); }
  HardwareMap(const HardwareMap&) = delete;
  HardwareMap& operator=(const HardwareMap&) = delete;
  hwloc_topology_t value{};
};

struct Bitmap {
  hwloc_bitmap_t value = hwloc_bitmap_alloc();
  Bitmap() = default;
  ~Bitmap() { hwloc_bitmap_free(value); }
  Bitmap(const Bitmap&) = delete;
  Bitmap& operator=(const Bitmap&) = delete;
};

}  // namespace levin::detail
