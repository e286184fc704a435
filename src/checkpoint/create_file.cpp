#include "create_file.h"

#include <fmt/format.h>
#include <mpi.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

/// Owns an MPI_Info.
struct Info {
  explicit Info(const MpiIoHints& hints) {
    MPI_Info_create(&value);
    for (const auto& [name, hint] : hints) MPI_Info_set(value, name.c_str(), hint.c_str());
  }
  ~Info() { MPI_Info_free(&value); }
  Info(const Info&) = delete;
  Info& operator=(const Info&) = delete;
  MPI_Info value = MPI_INFO_NULL;
};

std::string mpi_message(int error) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(error, text.data(), &length);
  return sanitized(text.data());
}

}  // namespace

void check_hints(const MpiIoHints& hints) {
  if (hints.empty()) return;
  for (const auto& [name, hint] : hints)
    if (name.empty() || hint.empty() || name.size() >= MPI_MAX_INFO_KEY || hint.size() >= MPI_MAX_INFO_VAL)
      throw UsageError("checkpoint", fmt::format("invalid MPI-IO hint {}: {}", quote(name), quote(hint)),
                       fmt::format("use names below {} bytes and values below {}", MPI_MAX_INFO_KEY, MPI_MAX_INFO_VAL));
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started == 0 || ended != 0) throw UsageError("checkpoint", "MPI-IO hints need MPI", "start MPI, or remove mpi_io_hints");
}

File create_file(const std::filesystem::path& path, const MpiIoHints& hints) {
  if (hints.empty()) return File::create(path);
  const Info info(hints);
  MPI_File file = MPI_FILE_NULL;
  constexpr int mode = MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_RDWR;
  int error = MPI_File_open(MPI_COMM_SELF, path.c_str(), mode, info.value, &file);
  if (error == MPI_SUCCESS) error = MPI_File_close(&file);
  if (error != MPI_SUCCESS)
    throw IoError(fmt::format("MPI cannot create {}: {}", path.string(), mpi_message(error)),
                  "choose a writable directory, or remove mpi_io_hints", "checkpoint");
  auto created = File::open_to_write(path);
  struct stat about {};
  if (fstat(created.descriptor(), &about) != 0 || fchmod(created.descriptor(), about.st_mode & 0775) != 0)
    throw_io_error(fmt::format("cannot set the mode of {}", path.string()), errno);
  return created;
}

}  // namespace levin::detail
