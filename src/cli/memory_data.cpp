#include "levin/cli/memory_data.h"

#include "data_parts.h"
#include "levin/core/text.h"
#include "levin/data/csv.h"
#include "levin/data/idx.h"
#include "levin/data/tensor_dataset.h"

namespace levin::cli {
namespace {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

at::ScalarType csv_dtype(const FileDataOptions& options, const std::string& name) {
  const auto found = options.dtype.find(name);
  if (found == options.dtype.end() || found->second == FieldDtype::float32) return at::kFloat;
  return found->second == FieldDtype::float64 ? at::kDouble : at::kLong;
}

}  // namespace

void IdxDataConfig::validate() const { options.check_names(names_of_parts(files)); }

void CsvDataConfig::validate() const {
  check_batch(*this);
  for (const auto* columns : {&batch, &predict_batch})
    for (const auto& [name, names] : *columns)
      if (names.empty()) throw ConfigError(fmt::format("data.batch has {} without columns", quote(name)), "name its columns, as [a, b]");
  if (separator && (separator->size() != 1 || *separator == "\"" || *separator == "\n"))
    throw ConfigError(fmt::format("data.separator is {}", quote(*separator)), "give one character, such as \",\" or \";\"");
}

std::shared_ptr<const Dataset> IdxData::open(Part part) const {
  NamedTensors tensors;
  for (const auto& [name, file] : of_part(config_.files, part)) {
    tensors.emplace_back(name, read_idx(file));
    const auto& [first, rows] = tensors.front();
    if (const auto& last = tensors.back().second; last.size(0) != rows.size(0))
      throw DataError(fmt::format("{} has {} rows, and the file of {} has {}", file.string(), last.size(0), quote(first), rows.size(0)),
                      "give each a row for each sample");
  }
  return tensors.empty() ? nullptr : std::make_shared<TensorDataset>(tensors);
}

std::shared_ptr<const Dataset> CsvData::open(Part part) const {
  const auto& file = of_part(config_.files, part);
  if (file.empty()) return nullptr;
  const auto& batch = batch_of(config_, part);
  std::vector<CsvField> fields;
  for (const auto& [name, columns] : batch) fields.push_back({columns, csv_dtype(options(), name)});
  const auto columns = read_csv(file, fields, config_.separator ? std::optional(config_.separator->front()) : std::nullopt);
  NamedTensors tensors;
  for (const auto& [name, names] : batch) tensors.emplace_back(name, columns[tensors.size()]);
  return std::make_shared<TensorDataset>(tensors);
}

}  // namespace levin::cli
