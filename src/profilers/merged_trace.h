#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

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

/// A range of a thread that Kineto does not record. Times are nanoseconds since the epoch.
struct ThreadRange {
  std::string name;
  int64_t thread = 0;  ///< the system's number of it
  int64_t begin = 0, end = 0;
};

/// What a rank has recorded in one cycle.
struct TracePart {
  std::filesystem::path kineto;  ///< a file
  std::vector<ThreadRange> ranges;
};

int64_t nanoseconds_since_epoch();

/// The events of one rank's trace as JSON objects, joined by commas: their process is the rank, that of a GPU's kernels another one,
/// identifiers differ from those of other ranks, and times count from the place's base. `kineto` is the text of Kineto's file; DataError
/// for any other.
std::string placed_events(std::string_view kineto, const std::vector<ThreadRange>& ranges, const TracePlace& place);

/// Writes the traces of the session's first `ranks` ranks, of which `part` is this rank's, as one file on rank 0. Collective over all
/// ranks of the session. An error of any rank is that of all.
void merge_traces(Session& session, int ranks, const TracePart& part, const std::filesystem::path& file);

}  // namespace detail
}  // namespace levin
