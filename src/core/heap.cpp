#include "levin/core/heap.h"

#include <malloc.h>

namespace levin {

HeapGivesBack::HeapGivesBack() noexcept {
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
}

HeapGivesBack::~HeapGivesBack() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

}  // namespace levin
