#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace levin::report {

struct MetricLine {
  int64_t step = 0;
  std::string name;  ///< valid UTF-8 without control characters
  double value = 0;
};

/// The values of a file, in their order.
struct MetricFile {
  /// Empty; or what a writer that was killed left at the end, which is not among the values.
  std::string cut_off;
  size_t values = 0;
};

/// The metrics of a run: the csv logger's file, metrics.csv, or else the json logger's, metrics.jsonl. Empty: the folder has neither.
std::filesystem::path metrics_file(const std::filesystem::path& run);
/// Reads what one of these loggers writes, as the file's extension says. DataError, with the line's number, for anything else; IoError.
MetricFile read_metrics(const std::filesystem::path& file, const std::function<void(const MetricLine&)>& use);

/// A whole file. IoError if it cannot be read.
std::string read_text(const std::filesystem::path& file);

}  // namespace levin::report
