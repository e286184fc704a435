#pragma once
// The end of a failed job: one message, one exit code, no hanging rank.
#include <exception>
#include <functional>
#include <string>

namespace levin {
class Communicator;
class MpiRuntime;
}  // namespace levin

namespace levin::cli {

int exit_code_of(const std::exception& error) noexcept;
/// Prints a line on standard error and returns the code.
int report(const std::string& message, int code);
/// Records the end of the job; must not throw.
using Record = std::function<void(const std::string& message, int code)>;
/// For an error while ranks may be in collectives: the rank with the first error records and reports it, and ends all others.
int end_job(MpiRuntime& mpi, Communicator& communicator, const std::exception& error, const Record& record);
/// For a job that hangs, from the watchdog's thread, while ranks may be stuck anywhere: the first rank that calls it records the message's
/// first line, reports, and ends all with 69. Returns on the others. `record` must not throw.
void end_hung_job(MpiRuntime& mpi, Communicator& communicator, const std::string& message, const Record& record) noexcept;
/// For an error before there is a communicator: if all ranks failed, rank 0 reports and all return.
int end_before_the_job(MpiRuntime& mpi, const std::exception& error);

}  // namespace levin::cli
