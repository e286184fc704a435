#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "levin/data/array_dataset.h"

namespace levin {

/// Data sets of an HDF5 file whose first dimension is the sample, each under its name.
class Hdf5Dataset : public ArrayDataset {
 public:
  /// DataError for a data set that cannot be read (see Hdf5Array) or has no rows, and where numbers of rows differ.
  Hdf5Dataset(const std::filesystem::path& file, const std::vector<std::string>& names);
};

}  // namespace levin
