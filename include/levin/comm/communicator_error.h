#pragma once
#include <string>

#include "levin/core/error.h"

namespace levin {

/// MPI or a backend failed, or the ranks disagree about a call (70).
class CommunicatorError : public Error {
 public:
  explicit CommunicatorError(const std::string& message, const std::string& remedy = {}, ExitCode code = ExitCode::internal)
      : Error(code, "comm", message, remedy) {}
};

/// Another rank ended the job, with this reason; thrown from a wait of this rank (69).
class CommunicatorAborted : public Error {
 public:
  CommunicatorAborted(int by_rank, const std::string& reason)
      : Error(ExitCode::rank_lost, "comm", fmt::format("rank {} ended the job: {}", by_rank, reason)), by_rank_(by_rank) {}
  int by_rank() const noexcept { return by_rank_; }

 private:
  int by_rank_;
};

}  // namespace levin
