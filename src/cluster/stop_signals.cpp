#include "levin/cluster/stop_signals.h"

#include <array>
#include <atomic>
#include <csignal>
#include <ctime>
#include <utility>

namespace levin {
namespace {

struct KnownSignal {
  int number;
  const char* name;
  StopReason reason;
};
// The first that arrived gives the reason.
constexpr std::array<KnownSignal, 5> known_signals{{{SIGINT, "SIGINT", StopReason::interrupted},
                                                    {SIGTERM, "SIGTERM", StopReason::terminated},
                                                    {SIGUSR1, "SIGUSR1", StopReason::restart},
                                                    {SIGUSR2, "SIGUSR2", StopReason::restart},
                                                    {SIGHUP, "SIGHUP", StopReason::restart}}};

constexpr uint32_t bit_of(int signal) noexcept { return 1u << signal; }
constexpr uint32_t announced_bit = bit_of(0), restart_bits = bit_of(SIGUSR1) | bit_of(SIGUSR2) | bit_of(SIGHUP);

// A handler can reach nothing else.
std::atomic<uint32_t> arrived_signals{0};
std::atomic<int64_t> first_interrupt{0};  // in nanoseconds; 0: none
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

void note_signal(int signal) {
  const uint32_t before = arrived_signals.fetch_or(bit_of(signal));
  if (signal == SIGTERM && (before & bit_of(SIGTERM)) == 0 && (before & restart_bits) != 0) arrived_signals.fetch_or(announced_bit);
}

void note_interrupt(int signal) {
  constexpr int64_t duplicate = 200'000'000;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t time = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  int64_t first = 0;
  if (!first_interrupt.compare_exchange_strong(first, time) && time - first >= duplicate) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  note_signal(signal);
}

int number_of_signal(StopSignal signal) noexcept {
  switch (signal) {
    case StopSignal::usr1: return SIGUSR1;
    case StopSignal::usr2: return SIGUSR2;
    case StopSignal::term: return SIGTERM;
    case StopSignal::hup: return SIGHUP;
  }
  return SIGTERM;
}

}  // namespace

struct StopSignals::Saved {
  int number;
  struct sigaction before;
};

StopSignals::StopSignals(const std::vector<StopSignal>& signals) {
  arrived_signals = 0;
  first_interrupt = 0;
  std::vector<int> numbers{SIGINT};
  for (const auto signal : signals) numbers.push_back(number_of_signal(signal));
  for (const int number : numbers) {
    Saved saved{number, {}};
    sigaction(number, nullptr, &saved.before);
    const bool ignored = saved.before.sa_handler == SIG_IGN;
    if (ignored && (number == SIGINT || number == SIGHUP)) continue;
    struct sigaction action {};
    action.sa_handler = number == SIGINT ? note_interrupt : note_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (const int other : numbers) sigaddset(&action.sa_mask, other);  // else of two pending signals the later one is handled first
    sigaction(number, &action, nullptr);
    saved_.push_back(saved);
  }
}

StopSignals::~StopSignals() {
  for (auto saved = saved_.rbegin(); saved != saved_.rend(); ++saved) sigaction(saved->number, &saved->before, nullptr);
}

uint32_t StopSignals::arrived() noexcept { return arrived_signals; }

std::optional<StopReason> StopSignals::reason() noexcept {
  const uint32_t arrived = arrived_signals.load(std::memory_order_relaxed);
  if (arrived == 0) return std::nullopt;
  for (const auto& signal : known_signals)
    if (arrived & bit_of(signal.number)) return signal.reason;
  return std::nullopt;
}

bool StopSignals::announced_end(uint32_t arrived) noexcept { return (arrived & announced_bit) != 0; }

std::string StopSignals::names(uint32_t arrived) {
  std::string names;
  for (const auto& signal : known_signals)
    if (arrived & bit_of(signal.number)) names += (names.empty() ? "" : ", ") + std::string(signal.name);
  return names;
}

}  // namespace levin
