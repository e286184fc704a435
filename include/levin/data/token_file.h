#pragma once
#include <filesystem>
#include <vector>

#include "levin/comm/communicator.h"

namespace levin {

/// Makes an HDF5 file in `cache` whose data set "tokens", uint8 [bytes], is the bytes of text files, plain or gzip, in the order given;
/// folders stand for the files below them, by name. All ranks take part: each reads pieces of the files (a gzip file is one piece), and
/// writes them to their places. A file that was made of the same sources (their names, sizes and times) is used again. Returns its path.
/// Collective; all hosts must see `cache` and the sources. DataError where there is no text; IoError.
std::filesystem::path make_token_file(const std::vector<std::filesystem::path>& sources, const std::filesystem::path& cache,
                                      Communicator& communicator);

}  // namespace levin
