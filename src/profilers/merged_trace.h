#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace levin {

class Session;

namespace detail {

/// Where a rank's trace stands in a merged one.
struct TracePlace {
  int rank = 0;
  std::string host;
  int64_t base_nanoseconds = 0;  ///< since the epoch: what times in the merged trace count from
  double clock_offset = 0;       ///< microseconds by which this rank's clock is ahead of rank 0's
};

/// The events of one rank's trace by Kineto as JSON objects, joined by commas: their process is the rank, that of a GPU's kernels another
/// one, identifiers differ from those of other ranks, and times count from the place's base. DataError for any other text.
std::string placed_events(std::string_view trace, const TracePlace& place);

/// Writes the traces of the session's first `ranks` ranks, this rank's is in the file `part`, as one file on rank 0. Collective over all
/// ranks of the session. An error of any rank is that of all.
void merge_traces(Session& session, int ranks, const std::filesystem::path& part, const std::filesystem::path& file);

}  // namespace detail
}  // namespace levin
