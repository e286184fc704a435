#include "levin/data/hdf5_array.h"

#include <ATen/ops/empty.h>

#include "../core/hdf5_array.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

// A link may lead anywhere, into another file even: each part of the name must be a hard one.
bool is_hard_link(hid_t file, const std::string& name) {
  for (size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    const std::string part = name.substr(0, end);
    H5L_info_t link;
    if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0 || H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT) < 0) return false;
    if (link.type != H5L_TYPE_HARD) return false;
  }
  return true;
}

}  // namespace

Hdf5Array::Hdf5Array(const std::filesystem::path& file, const std::string& name) {
  std::error_code error;
  const auto real = std::filesystem::canonical(file, error);  // a user's link to a data set is welcome
  file_ = std::make_unique<detail::File>(detail::File::open_to_read(error ? file : real, "data"));
  place_ = file.string() + ": " + shown(name);
  const auto refuse = [this](const std::string& why) {
    throw DataError(fmt::format("{} {}", place_, why), "write it contiguously, without filters, in a native little-endian type");
  };
  const auto opened = detail::open_hdf5(*file_);
  const detail::Hdf5Section section;
  if (!opened.good()) throw DataError(fmt::format("{} is no HDF5 file, or a damaged one", file.string()), "make it again");
  if (name.empty() || name.front() == '/' || first_bad_byte(name) != std::string::npos || !is_hard_link(opened, name))
    throw DataError(fmt::format("{} is not a data set", place_), "give the name of one that is in the file itself");
  const detail::Hdf5Handle set(H5Dopen2(opened, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!set.good()) refuse("is not a data set");
  auto stored = detail::look_at_array(set, file_->size(), refuse);
  if (stored.is_text || stored.shape.empty()) refuse("has no rows");
  dtype_ = stored.dtype;
  shape_ = std::move(stored.shape);
  offset_ = stored.offset;
  row_bytes_ = c10::elementSize(dtype_);
  for (size_t i = 1; i < shape_.size(); i++) row_bytes_ *= static_cast<size_t>(shape_[i]);
}

Hdf5Array::~Hdf5Array() = default;

void Hdf5Array::read(int64_t first, int64_t count, void* out) const {
  if (first < 0 || count < 0 || first > rows() - count)
    throw UsageError("data", fmt::format("rows {} to {} of {}, which has {}", first, first + count, place_, rows()));
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
