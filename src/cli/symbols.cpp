#include "symbols.h"

#include <backtrace.h>

#include <iterator>

namespace levin::cli {
namespace {

backtrace_state* state = nullptr;  // libbacktrace cannot free it

void ignore(void*, const char*, int) {}

struct Search {
  Symbol symbols[16];  // inlined functions, and last their caller
  size_t count = 0;
};

}  // namespace

void prepare_symbols() noexcept {
  if (!state) state = backtrace_create_state(nullptr, /*threaded=*/1, ignore, nullptr);
}

void find_symbols(uintptr_t address, void (*found)(void* context, const Symbol& symbol), void* context) noexcept {
  Search search{};
  const auto by_debug_info = [](void* data, uintptr_t, const char* file, int line, const char* function) {
    auto& [symbols, count] = *static_cast<Search*>(data);
    if (count < std::size(symbols)) symbols[count++] = {function, file, line};
    return 0;
  };
  // With -g1, debug information lacks namespaces and classes; the linker's table has them, but lacks inlined functions.
  const auto by_table = [](void* data, uintptr_t, const char* name, uintptr_t, uintptr_t) {
    if (auto& [symbols, count] = *static_cast<Search*>(data); name) symbols[count - 1].function = name;
  };
  if (state) backtrace_pcinfo(state, address, by_debug_info, ignore, &search);
  if (search.count == 0) search.count = 1;
  if (state) backtrace_syminfo(state, address, by_table, ignore, &search);
  for (size_t i = 0; i < search.count; i++) found(context, search.symbols[i]);
}

}  // namespace levin::cli
