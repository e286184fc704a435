#include "levin/data/hdf5_array.h"

#include <ATen/ops/empty.h>

#include "hdf5_lookup.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

Hdf5Array::Hdf5Array(const std::filesystem::path& file, const std::string& name) {
  std::error_code error;
  const auto real = std::filesystem::canonical(file, error);  // a user's symbolic link to a file is welcome
  file_ = std::make_unique<detail::File>(detail::File::open_to_read(error ? file : real, "data"));
  location_ = file.string() + ": " + quote(name);
  const auto refuse = [this](const std::string& why, const std::string& remedy) {
    throw DataError(fmt::format("{} {}", location_, why), remedy);
  };
  const auto opened = detail::open_hdf5(*file_);
  const detail::Hdf5Section section;
  if (!opened.good())
    throw DataError(fmt::format("{} is not an HDF5 file, or is corrupt", file.string()),
                    "name an HDF5 file, or copy it again; h5dump -H shows what is in a file");
  const auto set = detail::open_data_set(opened, name, refuse);
  auto stored = detail::check_array(set, file_->size(), refuse);
  if (stored.is_text) refuse("is one string, not rows", "name a data set with a row for each sample");
  if (stored.shape.empty()) refuse("is a scalar, so it has no rows", "name a data set with a row for each sample");
  dtype_ = stored.dtype;
  shape_ = std::move(stored.shape);
  offset_ = stored.offset;
  row_bytes_ = c10::elementSize(dtype_);
  for (size_t i = 1; i < shape_.size(); i++) row_bytes_ *= static_cast<size_t>(shape_[i]);
}

Hdf5Array::~Hdf5Array() = default;

void Hdf5Array::read(int64_t first, int64_t count, void* out) const {
  if (first < 0 || count < 0 || first > rows() - count)
    throw UsageError("data", fmt::format("rows {} to {} of {}, which has {}", first, first + count, location_, rows()));
  file_->read_at(out, static_cast<size_t>(count) * row_bytes_, offset_ + static_cast<uint64_t>(first) * row_bytes_);
}

Tensor Hdf5Array::read(int64_t first, int64_t count) const {
  auto shape = shape_;
  shape.front() = std::max<int64_t>(count, 0);
  Tensor rows = at::empty(shape, dtype_);
  read(first, count, rows.mutable_data_ptr());
  return rows;
}

}  // namespace levin
