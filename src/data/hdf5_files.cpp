#include "levin/data/hdf5_files.h"

#include <c10/util/SmallVector.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "chunk_cache.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

void check_known(const std::string& name, const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw UsageError("data", fmt::format("{} has options, but is not a name that is read", quote(name)), "name one of: " + joined(names));
}

}  // namespace

Hdf5Files::Hdf5Files(const std::vector<std::filesystem::path>& files, const std::vector<std::string>& names,
                     const Hdf5FilesOptions& options) {
  if (files.empty()) throw UsageError("data", "no HDF5 files given", "name at least one");
  if (names.empty()) throw UsageError("data", fmt::format("no data sets of {} given", files.front().string()), "name at least one");
  for (const auto& [name, data_set] : options.data_sets) check_known(name, names);
  for (const auto& [name, texts] : options.classes) check_known(name, names);
  const auto cache = std::make_shared<detail::ChunkCache>(options.cache_bytes);
  for (const auto& name : names) columns_.push_back({.name = name, .parts = {}, .classes = {}, .numbers = {}});
  begins_.push_back(0);
  for (const auto& file : files) {
    for (auto& column : columns_) {
      const auto data_set = options.data_sets.find(column.name);
      column.parts.push_back(std::make_unique<Hdf5Rows>(file, data_set == options.data_sets.end() ? column.name : data_set->second, cache));
      check_part(column, file);
    }
    begins_.push_back(begins_.back() + columns_.front().parts.back()->rows());
  }
  for (auto& column : columns_) {
    if (column.is_text())
      number_texts(column, options);
    else if (options.classes.contains(column.name))
      throw DataError(fmt::format("{} holds numbers, and classes are given for it", column.parts.front()->location()),
                      "remove the classes: numbers are read as they are");
  }
}

Hdf5Files::~Hdf5Files() = default;

void Hdf5Files::check_part(const Column& column, const std::filesystem::path& file) const {
  const auto& part = *column.parts.back();
  const auto& first_column = *columns_.front().parts.back();
  if (part.rows() == 0)
    throw DataError(fmt::format("{} has no rows: its shape is [{}]", part.location(), fmt::join(part.shape(), ", ")),
                    "write at least one row, or omit the file");
  if (part.rows() != first_column.rows())
    throw DataError(fmt::format("{} has {} rows, {} has {}", part.location(), part.rows(), first_column.location(), first_column.rows()),
                    "give each data set a row for each sample");
  const auto& first = *column.parts.front();
  const bool same = part.is_text() ? first.is_text()
                                   : !first.is_text() && part.dtype() == first.dtype() && part.shape().slice(1) == first.shape().slice(1);
  if (!same)
    throw DataError(
        fmt::format("{} has rows of {} and [{}] in {}, of {} and [{}] in the first file", quote(column.name),
                    part.is_text() ? "texts" : c10::toString(part.dtype()), fmt::join(part.shape().slice(1), ", "), file.string(),
                    first.is_text() ? "texts" : c10::toString(first.dtype()), fmt::join(first.shape().slice(1), ", ")),
        "write rows of one dtype and shape");
}

void Hdf5Files::number_texts(Column& column, const Hdf5FilesOptions& options) {
  constexpr size_t most_classes = 1 << 16;
  std::vector<std::vector<std::string>> texts;
  for (const auto& part : column.parts) texts.push_back(part->texts());
  const auto given = options.classes.find(column.name);
  if (given != options.classes.end()) {
    column.classes = given->second;
  } else {
    std::set<std::string> distinct;
    for (const auto& of_file : texts) distinct.insert(of_file.begin(), of_file.end());
    if (distinct.size() > most_classes)
      throw DataError(fmt::format("{} has {} different texts", column.parts.front()->location(), distinct.size()),
                      "texts are read as classes; write others as integers, token ids for example");
    column.classes.assign(distinct.begin(), distinct.end());
  }
  std::map<std::string_view, int64_t> number_of;
  for (size_t i = 0; i < column.classes.size(); ++i) number_of.emplace(column.classes[i], static_cast<int64_t>(i));
  for (size_t file = 0; file < texts.size(); ++file)
    for (size_t row = 0; row < texts[file].size(); ++row) {
      const auto found = number_of.find(texts[file][row]);
      if (found == number_of.end())
        throw DataError(fmt::format("{} has the text {} in row {}, which is not one of the {} given classes",
                                    column.parts[file]->location(), quote(texts[file][row]), row, column.classes.size()),
                        "add it to the classes, or correct the file");
      column.numbers.push_back(found->second);
    }
}

const std::vector<std::string>& Hdf5Files::classes(const std::string& name) const {
  for (const auto& column : columns_)
    if (column.name == name && column.is_text()) return column.classes;
  throw UsageError("data", fmt::format("{} is not a data set of texts that is read", quote(name)));
}

void Hdf5Files::get(std::span<const int64_t> indices, Batch& into) const {
  for (const int64_t index : indices)
    if (index < 0 || index >= size())
      throw UsageError("data", fmt::format("sample {} is out of range: the data set has {}", index, size()));
  for (const auto& column : columns_) {
    if (!column.is_text()) {
      read(column, indices, into);
      continue;
    }
    auto* out = reuse_tensor(into, column.name, {std::ssize(indices)}, at::kLong).mutable_data_ptr<int64_t>();
    for (const int64_t index : indices) *out++ = column.numbers[static_cast<size_t>(index)];
  }
}

void Hdf5Files::read(const Column& column, std::span<const int64_t> indices, Batch& into) const {
  const auto& first = *column.parts.front();
  c10::SmallVector<int64_t, 6> shape(first.shape().begin(), first.shape().end());
  shape[0] = std::ssize(indices);
  auto* const out = reuse_tensor(into, column.name, shape, first.dtype()).mutable_data_ptr();
  std::vector<std::vector<RowRequest>> requests(column.parts.size());
  for (int64_t position = 0; position < std::ssize(indices); ++position) {
    const int64_t index = indices[static_cast<size_t>(position)];
    const auto after = std::upper_bound(begins_.begin(), begins_.end(), index);
    const auto file = static_cast<size_t>(after - begins_.begin()) - 1;
    requests[file].push_back({index - begins_[file], position});
  }
  for (size_t file = 0; file < requests.size(); ++file) column.parts[file]->read(requests[file], out);
}

}  // namespace levin
