#include "levin/cli/array_data.h"

#include <set>

#include "data_parts.h"
#include "levin/core/text.h"
#include "levin/data/array_dataset.h"
#include "levin/data/hdf5_files.h"
#include "levin/data/npy_array.h"
#include "levin/data/safetensors_array.h"

namespace levin::cli {

void Hdf5DataConfig::validate() const {
  check_batch(*this);
  auto names = names_of(batch);
  for (const auto& name : names_of(predict_batch)) names.push_back(name);
  for (const auto& [name, texts] : classes) {
    check_name("classes", name, names);
    const std::set<std::string> distinct(texts.begin(), texts.end());
    if (texts.empty() || distinct.size() < texts.size())
      throw ConfigError(fmt::format("data.classes.{} has {}", sanitized(name), texts.empty() ? "no texts" : "a text twice"),
                        "list each class once, in the order of their numbers");
  }
}

void SafetensorsDataConfig::validate() const { check_batch(*this); }
void NpyDataConfig::validate() const { options.check_names(names_of_parts(files)); }

std::shared_ptr<const Dataset> Hdf5Data::open(Part part) const {
  const auto& files = of_part(config_.files, part).paths;
  if (files.empty()) return nullptr;
  Hdf5FilesOptions options{
      .classes = {}, .cache_bytes = static_cast<size_t>(config_.chunk_cache.value), .data_sets = batch_of(config_, part)};
  for (const auto& [name, data_set] : options.data_sets) {
    if (const auto given = config_.classes.find(name); given != config_.classes.end())
      options.classes.insert(*given);
    else if (part != Part::train && Hdf5Rows(files.front(), data_set).is_text())
      options.classes[name] = training_classes(name);
  }
  return std::make_shared<Hdf5Files>(files, names_of(options.data_sets), options);
}

// Texts that occur in a part of the data alone would be numbered otherwise than in the training, where the tensor may have another data set
// than in the data to predict.
std::vector<std::string> Hdf5Data::training_classes(const std::string& name) const {
  const auto& files = config_.files.train.paths;
  const auto data_set = config_.batch.find(name);
  if (files.empty() || data_set == config_.batch.end())
    throw ConfigError(fmt::format("{} is text, and its classes are unknown: {}", quote(name),
                                  files.empty() ? "data.train names no file" : "data.batch does not have it"),
                      fmt::format("{}list the classes, as --data.classes '{{{}: [A, B]}}'",
                                  files.empty() ? "name the training data, or " : "", sanitized(name)));
  if (!Hdf5Rows(files.front(), data_set->second).is_text())
    throw DataError(
        fmt::format("{} is text in the data to predict, and {} holds numbers in the training data", quote(name), quote(data_set->second)),
        fmt::format("list the classes, as --data.classes '{{{}: [A, B]}}', or name another data set", sanitized(name)));
  return Hdf5Files(files, {data_set->second}).classes(data_set->second);
}

std::shared_ptr<const Dataset> SafetensorsData::open(Part part) const {
  const auto& file = of_part(config_.files, part);
  if (file.empty()) return nullptr;
  ArrayDataset::Arrays arrays;
  for (const auto& [name, tensor] : batch_of(config_, part)) {
    const auto dtype = config_.options.dtype.find(name);
    const bool floating =
        dtype != config_.options.dtype.end() && (dtype->second == FieldDtype::float32 || dtype->second == FieldDtype::float64);
    const auto fp8 = floating ? SafetensorsArray::Fp8::read : SafetensorsArray::Fp8::refuse;  // converted by FileData
    arrays.emplace_back(name, std::make_unique<SafetensorsArray>(file, tensor, fp8));
  }
  return std::make_shared<ArrayDataset>(std::move(arrays));
}

std::shared_ptr<const Dataset> NpyData::open(Part part) const {
  ArrayDataset::Arrays arrays;
  for (const auto& [name, file] : of_part(config_.files, part)) arrays.emplace_back(name, std::make_unique<NpyArray>(file));
  return arrays.empty() ? nullptr : std::make_shared<ArrayDataset>(std::move(arrays));
}

}  // namespace levin::cli
