#pragma once
// Names of code addresses. There are two sources, of which the build takes one: symbols.cpp with libbacktrace, and symbols_by_linker.cpp.
#include <cstdint>

namespace levin::cli {

/// Once, before anything goes wrong.
void prepare_symbols() noexcept;

/// The symbol of an address: pointers may be null, and live until the next call.
struct Symbol {
  const char* function;  ///< as the linker has it
  const char* file;
  int line;
};
/// Calls found for each function that is inlined at the address, innermost first, or once. Without malloc.
void find_symbols(uintptr_t address, void (*found)(void* context, const Symbol& symbol), void* context) noexcept;

}  // namespace levin::cli
