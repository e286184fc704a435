#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace levin::detail {

/// Where a rank stands.
struct RankPosition {
  int rank = 0;
  double idle_seconds = 0;  ///< since its last batch or save
  std::string phase = {};
  int64_t step = 0;
  std::string calls = {};    ///< collectives under way, see FlightRecord::calls
  std::string context = {};  ///< lines of describe_trace_context
  std::string stack = {};    ///< lines, each preceded by a newline
  bool answered = true;      ///< the thread that trains gave context and stack
};

/// A rank for the report.
struct ReportedRank {
  std::string host;
  std::string note;  ///< of a missing one: the state of its process; empty: unknown
};

/// The report of a hang, without a newline at its end. Ranks in the same phase, step, hook and collectives are one group, with the stack of
/// its lowest rank. `positions` by rank; null: the rank did not answer. At most `most_lines` lines: stacks are cut first, then groups.
std::string describe_hang(const std::vector<std::optional<RankPosition>>& positions, const std::vector<ReportedRank>& ranks,
                          size_t most_lines);

}  // namespace levin::detail
