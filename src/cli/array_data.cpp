#include "levin/cli/array_data.h"

#include "data_parts.h"
#include "levin/data/array_dataset.h"
#include "levin/data/hdf5_array.h"
#include "levin/data/npy_array.h"
#include "levin/data/safetensors_array.h"

namespace levin::cli {
namespace {

template <class Array>
std::shared_ptr<const Dataset> open_named_arrays(const std::filesystem::path& file, const std::map<std::string, std::string>& batch) {
  if (file.empty()) return nullptr;
  ArrayDataset::Arrays arrays;
  for (const auto& [name, array] : batch) arrays.emplace_back(name, std::make_unique<Array>(file, array));
  return std::make_shared<ArrayDataset>(std::move(arrays));
}

}  // namespace

void Hdf5DataConfig::validate() const { check_batch(*this); }
void SafetensorsDataConfig::validate() const { check_batch(*this); }
void NpyDataConfig::validate() const { options.check_names(names_of_parts(files)); }

std::shared_ptr<const Dataset> Hdf5Data::open(Part part) const {
  return open_named_arrays<Hdf5Array>(of_part(config_.files, part), batch_of(config_, part));
}

std::shared_ptr<const Dataset> SafetensorsData::open(Part part) const {
  return open_named_arrays<SafetensorsArray>(of_part(config_.files, part), batch_of(config_, part));
}

std::shared_ptr<const Dataset> NpyData::open(Part part) const {
  ArrayDataset::Arrays arrays;
  for (const auto& [name, file] : of_part(config_.files, part)) arrays.emplace_back(name, std::make_unique<NpyArray>(file));
  return arrays.empty() ? nullptr : std::make_shared<ArrayDataset>(std::move(arrays));
}

}  // namespace levin::cli
