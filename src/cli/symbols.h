#pragma once
// Symbols of code addresses, by libbacktrace (symbols.cpp) or by dladdr (symbols_by_linker.cpp); the build selects one.
#include <cstdint>

namespace levin::cli {

/// Call it once, before a crash.
void prepare_symbols() noexcept;

/// The symbol of an address. Pointers may be null, and are valid until the next call.
struct Symbol {
  const char* function;  ///< mangled
  const char* file;
  int line;
};
/// Calls `found` for each function inlined at the address, innermost first, then for their caller. Does not call malloc.
void find_symbols(uintptr_t address, void (*found)(void* context, const Symbol& symbol), void* context) noexcept;

}  // namespace levin::cli
