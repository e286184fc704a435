#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace levin {

using NamedValues = std::vector<std::pair<std::string, double>>;

/// Where metrics go. Called on rank 0 alone, with values that are already those of all ranks.
class Logger {
 public:
  virtual ~Logger() = default;
  /// `step`: optimizer steps before this one, as Lightning counts.
  virtual void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) = 0;
  /// The run ends, well or not.
  virtual void finalize() {}
};

}  // namespace levin
