#pragma once
// How a job ends that did not go well: one message, one exit code, no rank left behind.
#include <exception>
#include <functional>
#include <string>

namespace levin {
class Communicator;
class MpiRuntime;
}  // namespace levin

namespace levin::cli {

int exit_code_of(const std::exception& error) noexcept;
/// Prints a line on standard error; gives the code back.
int report(const std::string& message, int code);
/// Writes down how the job ended; must not throw.
using Record = std::function<void(const std::string& message, int code)>;
/// For an error while ranks may be in collectives: the rank whose error came first records it, says it and ends all others.
int end_job(MpiRuntime& mpi, Communicator& communicator, const std::exception& error, const Record& record);
/// The same before there is a communicator: where all ranks failed, rank 0 says it and all return.
int end_before_the_job(MpiRuntime& mpi, const std::exception& error);

}  // namespace levin::cli
