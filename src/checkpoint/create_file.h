#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "../core/file.h"

namespace levin::detail {

using MpiIoHints = std::map<std::string, std::string>;

/// UsageError for what is no MPI_Info, or where MPI does not run.
void check_hints(const MpiIoHints& hints);

/// A new file, as File::create makes it; where there are hints through MPI_File_open, which may give them to the file system (Lustre's
/// stripes, which are a file's for good). IoError. MPI's thread is the one that calls.
File create_file(const std::filesystem::path& path, const MpiIoHints& hints);

}  // namespace levin::detail
