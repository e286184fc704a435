#include "levin/data/hdf5_dataset.h"

#include "levin/core/error.h"
#include "levin/data/hdf5_array.h"

namespace levin {
namespace {

ArrayDataset::Arrays open_data_sets(const std::filesystem::path& file, const std::vector<std::string>& names) {
  if (names.empty()) throw UsageError("data", fmt::format("no data sets of {} given", file.string()), "name at least one");
  ArrayDataset::Arrays arrays;
  for (const auto& name : names) arrays.emplace_back(name, std::make_unique<Hdf5Array>(file, name));
  return arrays;
}

}  // namespace

Hdf5Dataset::Hdf5Dataset(const std::filesystem::path& file, const std::vector<std::string>& names)
    : ArrayDataset(open_data_sets(file, names)) {}

}  // namespace levin
