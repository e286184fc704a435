#include "thread_snapshot.h"

#include <signal.h>
#include <ucontext.h>
#include <unwind.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "levin/core/fixed_text.h"
#include "levin/core/trace_context.h"

namespace levin::detail {
namespace {

// What the handler writes; a handler can reach nothing else.
struct SnapshotMemory {
  enum State : int { idle, asked, writing, written };
  std::atomic<int> state{idle};
  std::array<uintptr_t, 64> addresses{};
  size_t count = 0;
  std::array<char, 2048> context{};
  size_t context_size = 0;
};
SnapshotMemory snapshot_memory;
static_assert(std::atomic<int>::is_always_lock_free);

uintptr_t interrupted_instruction([[maybe_unused]] const void* context) noexcept {
#if __x86_64__
  return static_cast<uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif __aarch64__
  return static_cast<uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.pc);
#else
  return 0;
#endif
}

void note_stack(uintptr_t start) noexcept {
  struct Walk {
    uintptr_t start;
    bool reached;
  } walk{start, start == 0};
  snapshot_memory.count = 0;
  const auto visit = [](_Unwind_Context* frame, void* data) {
    auto& [begin, reached] = *static_cast<Walk*>(data);
    int before = 0;
    const uintptr_t next = _Unwind_GetIPInfo(frame, &before);
    if (next == 0 || snapshot_memory.count == snapshot_memory.addresses.size()) return _URC_END_OF_STACK;
    reached = reached || next == begin;  // the frames before are the handler's
    if (reached) snapshot_memory.addresses[snapshot_memory.count++] = before ? next : next - 1;
    return _URC_NO_REASON;
  };
  _Unwind_Backtrace(visit, &walk);
}

void note_snapshot(int, siginfo_t*, void* context) {
  const int error = errno;
  int expected = SnapshotMemory::asked;
  if (!snapshot_memory.state.compare_exchange_strong(expected, SnapshotMemory::writing)) return;  // too late
  note_stack(interrupted_instruction(context));
  FixedText text(snapshot_memory.context.data(), snapshot_memory.context.size());
  describe_trace_context(text);
  snapshot_memory.context_size = text.size();
  snapshot_memory.state = SnapshotMemory::written;
  errno = error;
}

}  // namespace

std::optional<ThreadSnapshot> snapshot_thread(pthread_t thread, std::chrono::milliseconds patience) {
  const int number = SIGRTMIN + 5;
  struct sigaction action {
  }, before{};
  action.sa_sigaction = note_snapshot;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (sigaction(number, &action, &before) != 0) return std::nullopt;
  snapshot_memory.state = SnapshotMemory::asked;
  const auto end = std::chrono::steady_clock::now() + patience;
  if (pthread_kill(thread, number) == 0)
    while (snapshot_memory.state != SnapshotMemory::written && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  // A thread that has not answered may still do so: the handler stays, and the default action would end the process.
  int unanswered = SnapshotMemory::asked;
  if (snapshot_memory.state.compare_exchange_strong(unanswered, SnapshotMemory::idle) || unanswered == SnapshotMemory::writing)
    return std::nullopt;
  sigaction(number, &before, nullptr);
  snapshot_memory.state = SnapshotMemory::idle;
  return ThreadSnapshot{{snapshot_memory.addresses.begin(), snapshot_memory.addresses.begin() + static_cast<long>(snapshot_memory.count)},
                        {snapshot_memory.context.data(), snapshot_memory.context_size}};
}

}  // namespace levin::detail
