#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/data/dataset.h"
#include "levin/data/hdf5_array.h"

namespace levin {

/// Data sets of an HDF5 file whose first dimension is the sample: a batch has a tensor of each name, and a row for each index. They stay in
/// the file; rows that follow each other are read at once.
class Hdf5Dataset : public Dataset {
 public:
  /// DataError for a data set that cannot be read (see Hdf5Array) or has no rows, and where numbers of rows differ.
  Hdf5Dataset(const std::filesystem::path& file, const std::vector<std::string>& names);

  int64_t size() const override { return arrays_.front().second->rows(); }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  std::vector<std::pair<std::string, std::unique_ptr<Hdf5Array>>> arrays_;
};

}  // namespace levin
