#pragma once
#include <filesystem>
#include <string>

#include "levin/data/file_array.h"

namespace levin {

/// A data set of an HDF5 file. HDF5 only locates it. Nothing in the file is trusted: a data set must be contiguous, unfiltered, in the file
/// itself, and of a little-endian type.
class Hdf5Array : public FileArray {
 public:
  /// `name` may have groups: "train/tokens" or "/train/tokens". DataError with file, name, what the object is and what to do, for a data
  /// set that is missing or not supported; IoError where the file cannot be opened.
  Hdf5Array(const std::filesystem::path& file, const std::string& name);
};

}  // namespace levin
