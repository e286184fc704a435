#pragma once
#include <string>
#include <utility>
#include <vector>

#include "levin/core/error.h"

namespace levin {

class MpiRuntime;

/// What one rank brings to an agreement.
struct RankStatus {
  ExitCode code = ExitCode::finished;  ///< finished: this rank is well
  std::string message;                 ///< why not, when it is not
  /// What must be equal on all ranks, by name: {"configuration", "8c1f…"}, {"LibTorch", "2.11.0"}. Values are hashes or short texts.
  std::vector<std::pair<std::string, std::string>> must_be_equal;
};

/// What all ranks know afterwards; the same on each of them.
struct Agreement {
  ExitCode code = ExitCode::finished;
  int rank = -1;        ///< the first bad rank
  std::string message;  ///< that rank's, or what differs between which ranks
  bool good() const noexcept { return code == ExitCode::finished; }
};

/// Collective over the runtime's ranks: are all well, and do they agree? The first bad rank's code and message win; else a difference
/// is bad_config, and its message names the ranks that differ from rank 0 and the first one's values. Never throws what a rank brings.
Agreement check_same_on_all_ranks(const MpiRuntime& runtime, const RankStatus& mine);

}  // namespace levin
