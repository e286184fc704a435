#include "levin/data/hdf5_dataset.h"

#include <c10/util/SmallVector.h>

#include "levin/core/error.h"

namespace levin {

Hdf5Dataset::Hdf5Dataset(const std::filesystem::path& file, const std::vector<std::string>& names) {
  if (names.empty()) throw UsageError("data", "a data set of no HDF5 data sets", "name one");
  for (const auto& name : names) {
    auto array = std::make_unique<Hdf5Array>(file, name);
    if (const auto* first = arrays_.empty() ? nullptr : arrays_.front().second.get(); first && array->rows() != first->rows())
      throw DataError(fmt::format("{} has {} rows, {} has {}", array->place(), array->rows(), first->place(), first->rows()),
                      "rows of one sample must have one number");
    arrays_.emplace_back(name, std::move(array));
  }
}

void Hdf5Dataset::get(std::span<const int64_t> indices, Batch& into) const {
  for (const auto& [name, array] : arrays_) {
    c10::SmallVector<int64_t, 6> shape(array->shape().begin(), array->shape().end());
    shape[0] = static_cast<int64_t>(indices.size());
    auto* out = static_cast<std::byte*>(reuse_tensor(into, name, shape, array->dtype()).mutable_data_ptr());
    for (size_t begin = 0; begin < indices.size();) {
      size_t end = begin + 1;
      while (end < indices.size() && indices[end] == indices[end - 1] + 1) end++;
      array->read(indices[begin], static_cast<int64_t>(end - begin), out + begin * array->row_bytes());
      begin = end;
    }
  }
}

}  // namespace levin
