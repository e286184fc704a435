#include "stack_trace.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <unwind.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "symbols.h"

namespace levin::cli {
namespace {

template <size_t room>
void copy(char (&to)[room], std::string_view from) noexcept {
  const size_t length = std::min(from.size(), room - 1);
  std::memcpy(to, from.data(), length);
  to[length] = 0;
}

std::string_view last_part(std::string_view path) noexcept { return path.substr(path.rfind('/') + 1); }

bool has_any_prefix(std::string_view text, std::initializer_list<std::string_view> beginnings) noexcept {
  for (const auto beginning : beginnings)
    if (text.starts_with(beginning)) return true;
  return false;
}

bool inner_object(std::string_view object) noexcept {
  return has_any_prefix(object, {"libtorch", "libc10", "liblevin", "libc.so", "libm.so", "libstdc++", "libgcc_s", "libgomp", "libmpi",
                                 "libopen-", "libpthread", "ld-linux", "linux-vdso"});
}

// By name, because templates and inlined functions of libraries lie in the user's program. Mangled prefixes serve if demangling failed.
bool inner_function(std::string_view name) noexcept {
  return has_any_prefix(name, {"at::", "c10::", "torch::", "std::", "levin::", "__gnu_cxx::", "_start", "_ZN2at", "_ZN3c10", "_ZN5torch",
                               "_ZNK5torch", "_ZNSt", "_ZSt", "_ZN5levin", "_ZNK5levin"});
}

bool inner_file(std::string_view path) noexcept {
  for (const std::string_view part : {"/include/torch/csrc/", "/include/ATen/", "/include/c10/", "/include/levin/", "/include/c++/"})
    if (path.find(part) != std::string_view::npos) return true;
  return false;
}

// "Toy::fail" for "void (anonymous namespace)::Toy::fail<int>(at::Tensor const&) const".
std::string_view shorten(std::string_view name, char* to, size_t room) noexcept {
  constexpr std::string_view anonymous = "(anonymous namespace)::", call = "operator()";
  size_t length = 0, depth = 0;
  while (!name.empty() && length + call.size() + 1 < room) {
    if (name.starts_with(anonymous)) {
      name.remove_prefix(anonymous.size());
      continue;
    }
    const size_t step = name.starts_with(call) ? call.size() : 1;
    const char first = name[0];
    if (step == 1 && first == '(' && depth == 0) break;
    if (first == '>' && depth > 0) depth--;
    if (step == 1 && first == ' ' && depth == 0)
      length = 0;  // drop the return type
    else if (depth == 0 && first != '<' && first != '>')
      std::memcpy(to + std::exchange(length, length + step), name.data(), step);
    if (first == '<') depth++;
    name.remove_prefix(step);
  }
  to[length] = 0;
  return {to, length};
}

constexpr std::string_view cut_to(std::string_view text, size_t length) noexcept { return text.substr(0, length); }

}  // namespace

void StackTrace::collect(uintptr_t address) noexcept {
  struct Walk {
    StackTrace* trace;
    uintptr_t start;
    bool reached;
  } walk{this, address, address == 0};
  const auto visit = [](_Unwind_Context* context, void* data) {
    auto& walk = *static_cast<Walk*>(data);
    int before = 0;
    const uintptr_t next = _Unwind_GetIPInfo(context, &before);
    if (next == 0 || walk.trace->count_ == most) return _URC_END_OF_STACK;
    walk.reached = walk.reached || next == walk.start;
    if (walk.reached) walk.trace->add(before ? next : next - 1);
    return _URC_NO_REASON;
  };
  count_ = 0;
  _Unwind_Backtrace(visit, &walk);
}

void StackTrace::collect(std::span<const uintptr_t> addresses) noexcept {
  count_ = 0;
  for (const uintptr_t address : addresses) add(address);
}

void StackTrace::add(uintptr_t address) noexcept {
  struct Lookup {
    StackTrace* trace;
    uintptr_t address;
    Dl_info object;
  } lookup{this, address, {}};
  dladdr(reinterpret_cast<void*>(address), &lookup.object);  // NOLINT(performance-no-int-to-ptr)
  find_symbols(
      address,
      [](void* data, const Symbol& symbol) {
        const auto& [trace, address, object] = *static_cast<Lookup*>(data);
        if (trace->count_ == most) return;
        Frame& frame = trace->frames_[trace->count_++];
        copy(frame.object, object.dli_fname ? last_part(object.dli_fname) : "?");
        copy(frame.file, symbol.file ? symbol.file : "");
        frame.line = symbol.line;
        if (symbol.function) {
          copy(frame.function, symbol.function);
        } else {
          FixedText text(frame.function, sizeof(frame.function) - 1);
          text << frame.object << "+";
          text.hex(address - reinterpret_cast<uintptr_t>(object.dli_fbase));
          frame.function[text.size()] = 0;
        }
        frame.inner = inner_object(frame.object) || inner_function(frame.function) || inner_file(frame.file);
      },
      &lookup);
}

void StackTrace::demangle() noexcept {
  for (size_t i = 0; i < count_; i++) {
    Frame& frame = frames_[i];
    int status = 0;
    char* name = abi::__cxa_demangle(frame.function, nullptr, nullptr, &status);
    if (!name) continue;
    const bool inner = inner_function(shorten(name, frame.function, sizeof(frame.function)));
    frame.inner = frame.inner || inner;
    std::free(name);
  }
}

// Number of frames that share a line: a recursive function, or library frames between two user frames.
size_t StackTrace::run_of(size_t first) const noexcept {
  size_t end = first + 1;
  const auto same = [&](const Frame& frame) {
    return frames_[first].inner ? frame.inner : !frame.inner && std::strcmp(frame.function, frames_[first].function) == 0;
  };
  while (end < count_ && same(frames_[end])) end++;
  return end - first;
}

void StackTrace::describe(FixedText& text, size_t lines) const noexcept {
  for (size_t i = 0; i < count_ && lines > 0; lines--) {
    const size_t run = run_of(i);
    const Frame& frame = frames_[i].inner ? frames_[i + run - 1] : frames_[i];  // of library frames, the one that the user called
    text << "\n    " << cut_to(frame.function, 100);
    if (frame.file[0] != 0) (text << " at " << last_part(frame.file) << ":") << static_cast<int64_t>(frame.line);
    if (run > 1) (text << " and ") << static_cast<int64_t>(run - 1) << " more";
    if (frame.inner && inner_object(frame.object)) text << " (" << frame.object << ")";
    if (std::string_view(frame.function) == "main") return;
    i += run;
  }
}

std::string describe_stack(std::span<const uintptr_t> addresses) {
  constexpr size_t most_lines = 30;
  prepare_symbols();
  const auto trace = std::make_unique<StackTrace>();
  trace->collect(addresses);
  trace->demangle();
  char memory[6144];
  FixedText text(memory, sizeof(memory));
  trace->describe(text, most_lines);
  return std::string(text.view());
}

}  // namespace levin::cli
