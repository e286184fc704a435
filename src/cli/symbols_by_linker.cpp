#include <dlfcn.h>

#include "symbols.h"

namespace levin::cli {

void prepare_symbols() noexcept {}

// Finds exported functions only: those of libraries, and of programs linked with -rdynamic.
void find_symbols(uintptr_t address, void (*found)(void* context, const Symbol& symbol), void* context) noexcept {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(address), &info);  // NOLINT(performance-no-int-to-ptr)
  found(context, {info.dli_sname, nullptr, 0});
}

}  // namespace levin::cli
