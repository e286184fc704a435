#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "../core/file.h"

namespace levin::detail {

using MpiIoHints = std::map<std::string, std::string>;

/// UsageError if the hints are not valid for an MPI_Info, or if MPI is not running.
void check_hints(const MpiIoHints& hints);

/// Creates a new file as File::create does. With hints, creates it by MPI_File_open, which can pass them to the file system: Lustre fixes
/// the stripes of a file at its creation. IoError. Call it on a thread that may call MPI.
File create_file(const std::filesystem::path& path, const MpiIoHints& hints);

}  // namespace levin::detail
