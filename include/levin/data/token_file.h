#pragma once
#include <filesystem>
#include <vector>

#include "levin/comm/communicator.h"

namespace levin {

/// Makes an HDF5 file in `cache` whose data set "tokens", uint8 [bytes], is the bytes of text files, plain or gzip, in the order given.
/// A folder stands for the files below it, sorted by path: hidden files and folders are left out, symbolic links are followed. Each rank
/// reads pieces of the files (a gzip file is one piece) and writes them to their places. A file that was made of the same sources (their
/// paths, sizes and times) is used again. Returns its path. Collective; all hosts must see `cache` and the sources. DataError for missing
/// or empty sources; IoError, with the path, for a source that cannot be read or is not a regular file.
std::filesystem::path make_token_file(const std::vector<std::filesystem::path>& sources, const std::filesystem::path& cache,
                                      Communicator& communicator);

}  // namespace levin
