#pragma once
#include <pthread.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace levin::detail {

/// Where another thread of this process stands.
struct ThreadSnapshot {
  std::vector<uintptr_t> addresses;  ///< of its stack, innermost first
  std::string context;               ///< describe_trace_context of it
};

/// Interrupts the thread by a real-time signal, whose handler notes stack and context in preallocated memory. Null if it does not answer
/// within `patience`: it waits in the kernel. After an answer the signal's previous action is
/// restored. One call at a time.
std::optional<ThreadSnapshot> snapshot_thread(pthread_t thread, std::chrono::milliseconds patience);

}  // namespace levin::detail
