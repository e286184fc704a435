#pragma once
#include <string>
#include <utility>
#include <vector>

#include "levin/core/error.h"

namespace levin {

class MpiRuntime;

/// One rank's contribution to check_same_on_all_ranks.
struct RankStatus {
  ExitCode code = ExitCode::finished;  ///< finished: this rank has no error
  std::string message;                 ///< the error otherwise
  /// Hashes or short texts that must be equal on all ranks, by name: {"configuration", "8c1f…"}, {"LibTorch", "2.11.0"}.
  std::vector<std::pair<std::string, std::string>> must_be_equal;
  /// The content of such a value, one item a line: {"configuration", "trainer.max_epochs 3\n…"}. Exchanged only if the ranks differ; the
  /// message then has the lines that do.
  std::vector<std::pair<std::string, std::string>> details = {};
};

/// The result, the same on all ranks.
struct Agreement {
  ExitCode code = ExitCode::finished;
  int rank = -1;        ///< the first rank with an error or a different value; -1: none
  std::string message;  ///< that rank's error, or the difference
  bool good() const noexcept { return code == ExitCode::finished; }
};

/// Checks that no rank has an error and that all have equal values. Collective over the runtime's ranks. Returns the error of the lowest
/// failed rank; without an error, a difference is bad_config, with a message that names the ranks that differ from rank 0, and the values
/// and host of the first of them. Never throws a rank's error.
Agreement check_same_on_all_ranks(const MpiRuntime& runtime, const RankStatus& mine);

}  // namespace levin
