// Preloaded into a job, as if someone set the machine's clock: CLOCK_LEAP_AFTER seconds after the start the wall clock leaps by CLOCK_LEAP
// seconds. Other clocks stay.
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

time_t steady_seconds() {
  timespec time{};
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

time_t setting(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::atol(text) : 0;
}

time_t leap() {
  static const time_t start = steady_seconds(), after = setting("CLOCK_LEAP_AFTER"), seconds = setting("CLOCK_LEAP");
  return steady_seconds() - start >= after ? seconds : 0;
}

[[maybe_unused]] const time_t from_the_start = leap();

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto failed = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += leap();
  return failed;
}

__attribute__((visibility("default"))) int gettimeofday(timeval* time, void*) noexcept {
  timespec exact{};
  clock_gettime(CLOCK_REALTIME, &exact);
  time->tv_sec = exact.tv_sec;
  time->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

__attribute__((visibility("default"))) time_t time(time_t* into) noexcept {
  timespec exact{};
  clock_gettime(CLOCK_REALTIME, &exact);
  if (into) *into = exact.tv_sec;
  return exact.tv_sec;
}
}
