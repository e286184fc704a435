#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/profiler.h"

namespace levin {

/// Lightning's arguments of SimpleProfiler.
struct SimpleProfilerConfig {
  std::filesystem::path dirpath = {};
  std::string filename = {};
};
LEVIN_CONFIG(SimpleProfilerConfig, (dirpath, "folder of the table; empty: the run's"),
             (filename, "STAGE-FILENAME.txt in that folder; empty: STAGE-profile.txt"))
LEVIN_CHOICE(SimpleProfilerConfig, "simple")

/// The calls of one range, and their time.
struct RangeTimes {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;  ///< of all calls
};

/// Times every range of a run, and prints a table at its end: calls, mean and total of rank 0, and the smallest and largest total of the
/// ranks. Times of nested ranges overlap. At most `most_names` different names; others share a row.
class SimpleProfiler : public Profiler {
 public:
  using Config = SimpleProfilerConfig;
  static constexpr size_t most_names = 2000;
  explicit SimpleProfiler(const SimpleProfilerConfig& config = {}) : config_(config) {}

  void begin_run(Stage stage, Session& session) override;
  void end_run(Stage stage, Session& session, const std::filesystem::path& folder) override;
  void begin(const RangeName& range) noexcept override;
  void end() noexcept override;

  /// This rank's ranges since begin_run, the longest first.
  std::vector<RangeTimes> times() const;
  /// The table of the last run; empty on ranks other than 0.
  const std::string& table() const noexcept { return table_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Total {
    int64_t calls = 0;
    std::chrono::nanoseconds time{0};
  };
  struct OpenRange {
    Total* total;
    Clock::time_point began;
  };

  SimpleProfilerConfig config_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Total> totals_;
  std::unordered_map<std::thread::id, std::vector<OpenRange>> open_;
  Clock::time_point began_;
  std::string table_;
};

}  // namespace levin
