#include "job_end.h"

#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <thread>

#include "../core/host_name.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/node_group.h"
#include "levin/core/trace_context.h"

namespace levin::cli {
namespace {

using namespace std::chrono_literals;

std::string signed_message(const MpiRuntime& mpi, const std::exception& error) {
  if (mpi.size() == 1) return explain(error);
  return fmt::format("rank {} on {}: {}", mpi.rank(), detail::host_name(), explain(error));
}

// Whether this rank won the abort word, and therefore reports.
bool was_first(MpiRuntime& mpi, Communicator& communicator, const std::exception& error) {
  if (dynamic_cast<const CommunicatorAborted*>(&error)) return false;
  communicator.abort(explain(error));
  // Ranks of several hosts may fail at once: wait until all know the winner.
  if (const auto* node = communicator.node(); node && node->size() < communicator.size()) std::this_thread::sleep_for(500ms);
  try {
    communicator.barrier();
  } catch (const CommunicatorAborted& aborted) {
    return aborted.by_rank() == mpi.rank();
  } catch (const std::exception&) {
  }
  return true;
}

// The one message of the job; then the other ranks have time to unwind. The record may hang where a file system does.
void announce(const std::string& message, const std::string& recorded, int code, const Record& record) {
  report(message, code);
  record(recorded, code);
  std::this_thread::sleep_for(300ms);
}

// The rank that failed has not ended the job: it is stuck, as in a hook on_exception. The lowest other rank reports its error. Watchdog and
// CrashReport have reported theirs.
void report_instead(const MpiRuntime& mpi, const CommunicatorAborted& aborted, const Record& record) {
  const std::string_view reason = aborted.what();
  const bool reported = reason.find(": [cluster] ") != std::string_view::npos || reason.find("[crash] ") != std::string_view::npos;
  if (reported || mpi.rank() != (aborted.by_rank() == 0 ? 1 : 0)) return;
  const int code = exit_code_of(aborted);
  const std::string message = fmt::format("{}\n  rank {} has not ended since", reason, aborted.by_rank());
  record(message, code);
  report(message, code);
}

}  // namespace

int exit_code_of(const std::exception& error) noexcept {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return static_cast<int>(ours->exit_code());
  const bool io = dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr;
  return static_cast<int>(io ? ExitCode::io_failed : ExitCode::internal);
}

int report(const std::string& message, int code) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::fflush(stderr);
  return code;
}

int end_job(MpiRuntime& mpi, Communicator& communicator, const std::exception& error, const Record& record) {
  const int code = exit_code_of(error);
  const std::string message = signed_message(mpi, error);
  if (mpi.size() == 1) {
    record(message, code);
    return report(message, code);
  }
  if (was_first(mpi, communicator, error)) {
    announce(message, message, code, record);
    MPI_Abort(mpi.communicator(), code);
  }
  std::this_thread::sleep_for(8s);  // the launcher ends this rank meanwhile
  if (const auto* aborted = dynamic_cast<const CommunicatorAborted*>(&error)) report_instead(mpi, *aborted, record);
  std::_Exit(code);
}

void end_hung_job(MpiRuntime& mpi, Communicator& communicator, const std::string& message, const Record& record) noexcept {
  const int code = static_cast<int>(ExitCode::rank_lost);
  NodeGroup& node = *communicator.node();
  if (!node.abort(message)) return;
  if (node.size() < communicator.size()) {  // ranks of several hosts may report at once
    std::this_thread::sleep_for(500ms);
    if (!node.aborted_by_this_rank()) return;
  }
  announce(message, message.substr(0, message.find('\n')), code, record);
  if (mpi.size() > 1 && mpi.thread_level() == MPI_THREAD_MULTIPLE) mpi.end_job(code);
  _exit(code);
}

int end_before_the_job(MpiRuntime& mpi, const std::exception& error) {
  const int code = exit_code_of(error);
  MPI_Request request;
  int all_failed = 0;
  if (MPI_Ibarrier(mpi.communicator(), &request) == MPI_SUCCESS)
    for (int tries = 0; tries < 200 && !all_failed; tries++) {
      MPI_Test(&request, &all_failed, MPI_STATUS_IGNORE);
      if (!all_failed) std::this_thread::sleep_for(10ms);
    }
  if (all_failed) return mpi.rank() == 0 ? report(explain(error), code) : code;
  report(signed_message(mpi, error), code);
  MPI_Abort(mpi.communicator(), code);
  std::_Exit(code);
}

}  // namespace levin::cli
