#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::report {

/// A value after `step` steps, as the loggers count: the first step is 0.
struct Point {
  int64_t step = 0;
  double value = 0;
};

struct Series {
  std::string name;
  std::vector<Point> points;  ///< by step
};

/// The parts of a training's time, in the order of their display.
inline constexpr const char* time_parts[] = {"compute", "communication", "data", "validation", "checkpoint", "other"};
inline constexpr size_t time_part_count = 6, validation_part = 3;

/// A record of timings.csv: what rank 0 measured since the record before.
struct Timing {
  int64_t step = 0;
  double total = 0;  ///< seconds
  double parts[time_part_count] = {};
  double steps = 0, samples = 0;
  size_t found = 0;  ///< values of the above
  std::optional<double> process_bytes = {};
  std::vector<std::pair<std::string, double>> learning_rates = {};
};

/// A start of a run.
struct Attempt {
  int64_t first_step = 0;  ///< steps before it
  std::optional<int64_t> steps, exit_code;
  std::optional<double> seconds;
  std::string started, exit_reason, job;
  bool abandoned = false;  ///< a later attempt resumed from an earlier step, so that this one's are not the training's past
};

/// What a run directory records of a training.
struct RunData {
  std::filesystem::path folder;
  std::string label;  ///< of the run among those of a report
  std::vector<Series> metrics;
  std::vector<Series> learning_rates;
  std::vector<Timing> timings;
  std::vector<Attempt> attempts;  ///< oldest first
  std::vector<std::pair<std::string, std::string>> facts, options;
  std::string accelerator;
  std::vector<std::string> problems;  ///< files whose end is cut off, in words

  /// First steps of the attempts that resumed the training; several may have resumed from one step.
  std::vector<int64_t> restarts() const;
};

/// Reads metrics.csv (or metrics.jsonl, where the json logger alone wrote), timings.csv and run.json. DataError if the directory, or both
/// files of metrics, do not exist, have no values or are damaged; IoError.
RunData read_run(const std::filesystem::path& folder);

/// Reads several, and gives each a label: the shortest end of its path that no other has.
std::vector<RunData> read_runs(const std::vector<std::filesystem::path>& folders);

}  // namespace levin::report
