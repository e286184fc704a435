#include "levin/data/array_dataset.h"

#include <c10/util/SmallVector.h>
#include <fmt/format.h>

#include "levin/core/error.h"

namespace levin {

ArrayDataset::ArrayDataset(Arrays arrays) : arrays_(std::move(arrays)) {
  if (arrays_.empty()) throw UsageError("data", "no arrays given", "name at least one");
  const auto& first = *arrays_.front().second;
  for (const auto& [name, array] : arrays_) {
    if (array->rows() != first.rows())
      throw DataError(fmt::format("{} has {} rows, {} has {}", array->location(), array->rows(), first.location(), first.rows()),
                      "give each a row for each sample");
    if (array->rows() == 0)
      throw DataError(fmt::format("{} has no rows: its shape is [{}]", array->location(), fmt::join(array->shape(), ", ")),
                      "write at least one row, or name another data set");
  }
}

void ArrayDataset::get(std::span<const int64_t> indices, Batch& into) const {
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
