#include "levin/comm/flight_record.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "levin/core/profile_range.h"

namespace levin {

void CallSlot::begin(const char* kind, uint64_t number, int64_t count, const char* dtype, std::string_view label) noexcept {
  std::array<uint64_t, label_words> words{};
  std::memcpy(words.data(), label.data(), std::min(label.size(), sizeof(words) - 1));
  if (kind_.load(std::memory_order_relaxed)) detail::end_range();
  detail::begin_range(RangeKind::collective, kind, label.substr(0, label.find('\0')));
  const uint32_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < label_words; i++) label_[i].store(words[i], std::memory_order_relaxed);
  number_.store(number, std::memory_order_relaxed);
  count_.store(count, std::memory_order_relaxed);
  dtype_.store(dtype, std::memory_order_relaxed);
  kind_.store(kind, std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);
}

void CallSlot::end() noexcept {
  if (kind_.load(std::memory_order_relaxed)) detail::end_range();
  kind_.store(nullptr, std::memory_order_relaxed);
}

std::string CallSlot::describe() const {
  constexpr int most_tries = 100;  // a thread that stopped inside of begin() blocks no reader
  for (int tries = 0; tries < most_tries; tries++) {
    const uint32_t before = version_.load(std::memory_order_acquire);
    std::array<uint64_t, label_words> words{};
    for (size_t i = 0; i < label_words; i++) words[i] = label_[i].load(std::memory_order_relaxed);
    const uint64_t number = number_.load(std::memory_order_relaxed);
    const int64_t count = count_.load(std::memory_order_relaxed);
    const char* const dtype = dtype_.load(std::memory_order_relaxed);
    const char* const kind = kind_.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 != 0 || before != version_.load(std::memory_order_relaxed)) continue;
    if (!kind) return {};
    char label[sizeof(words)];
    std::memcpy(label, words.data(), sizeof(words));
    std::string text = fmt::format("{} number {}", kind, number);
    if (dtype) text += fmt::format(" of {} {}", count, dtype);
    if (label[0] != 0) text += fmt::format(" for {}", std::string_view(label, strnlen(label, sizeof(label))));
    return text;
  }
  return "a call that is just beginning";
}

std::shared_ptr<CallSlot> FlightRecord::add_communicator() {
  auto slot = std::make_shared<CallSlot>();
  const std::lock_guard lock(mutex_);
  std::erase_if(slots_, [](const auto& known) { return known.expired(); });
  slots_.push_back(slot);
  return slot;
}

std::string FlightRecord::calls() const {
  std::string text;
  const std::lock_guard lock(mutex_);
  for (const auto& known : slots_)
    if (const auto slot = known.lock())
      if (const auto call = slot->describe(); !call.empty()) text += (text.empty() ? "" : "; ") + call;
  return text;
}

FlightRecord::Phase::Phase(FlightRecord& record, const char* name, bool unbounded) noexcept
    : record_(record), before_(record.phase()), unbounded_before_(record.unbounded()) {
  record_.phase_.store(name, std::memory_order_relaxed);
  record_.unbounded_.store(unbounded || unbounded_before_, std::memory_order_relaxed);
  detail::begin_range(RangeKind::phase, name);
}

FlightRecord::Phase::~Phase() {
  detail::end_range();
  record_.phase_.store(before_, std::memory_order_relaxed);
  record_.unbounded_.store(unbounded_before_, std::memory_order_relaxed);
}

}  // namespace levin
