#include "run_folder.h"

#include <unistd.h>

#include <fstream>

#include "levin/comm/agree.h"
#include "levin/comm/mpi_runtime.h"

namespace levin::cli {
namespace {

namespace fs = std::filesystem;

// mkdir tells who was first, so that two jobs started together do not share a number.
fs::path next_number(const fs::path& parent) {
  fs::create_directories(parent);
  for (int number = 1;; number++) {
    const fs::path folder = parent / fmt::format("{:04d}", number);
    if (fs::create_directory(folder)) return folder;
  }
}

fs::path make(const RunConfig& config, const std::string& program) {
  const fs::path parent = fs::path("runs") / program;
  try {
    const fs::path folder = !config.run_dir.empty()    ? config.run_dir
                            : !config.run_name.empty() ? parent / config.run_name
                                                       : next_number(parent);
    fs::create_directories(folder);
    if (access(folder.c_str(), W_OK | X_OK) != 0)
      throw fs::filesystem_error("cannot write", folder, std::error_code(errno, std::generic_category()));
    return folder;
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format("cannot make the run's folder {}: {}", error.path1().string(), error.code().message()),
                  "give a --run_dir that can be written", "cli");
  }
}

}  // namespace

fs::path make_run_folder(MpiRuntime& mpi, const RunConfig& config, const std::string& program) {
  std::string folder;
  Standing standing;
  std::exception_ptr failure;
  if (mpi.rank() == 0) try {
      folder = make(config, program);
    } catch (const Error& error) {
      standing = {error.exit_code(), error.what(), {}};
      failure = std::current_exception();
    }
  const Agreement agreement = agree(mpi, standing);
  if (failure) std::rethrow_exception(failure);
  if (!agreement.good()) throw IoError(fmt::format("rank {}: {}", agreement.rank, agreement.message), {}, "cli");
  int length = static_cast<int>(folder.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT, 0, mpi.communicator()), "MPI_Bcast");
  folder.resize(static_cast<size_t>(length));
  check_mpi(MPI_Bcast(folder.data(), length, MPI_CHAR, 0, mpi.communicator()), "MPI_Bcast");
  return folder;
}

void write_text(const fs::path& file, const std::string& text) {
  const fs::path partial = file.string() + ".partial";
  std::ofstream out(partial, std::ios::trunc);
  out << text;
  out.close();
  std::error_code error;
  if (out) fs::rename(partial, file, error);
  if (!out || error)
    throw IoError(fmt::format("cannot write {}", file.string()), "see whether the file system is full or read-only", "cli");
}

}  // namespace levin::cli
