#pragma once
#include <string>
#include <vector>

#include "record.h"

namespace levin::sweep {

/// A configuration with its best value of the monitored metric.
struct Row {
  size_t configuration = 0;
  std::string state;           ///< finished, stopped, waiting, failed (70), …
  std::optional<double> best;  ///< no value: not logged yet
  std::optional<int64_t> step;
};

/// The best first, then those without a value, in order.
std::vector<Row> make_rows(const Sweep& sweep, const std::vector<Result>& results);
/// For a person: aligned columns.
std::string table_text(const Sweep& sweep, const std::vector<Row>& rows);
/// The same as CSV.
std::string table_csv(const Sweep& sweep, const std::vector<Row>& rows);
/// "failed (70)"
std::string state_of(const Sweep& sweep, const Result& result);

}  // namespace levin::sweep
