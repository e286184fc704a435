#include "levin/data/file_array.h"

#include <ATen/ops/empty.h>

#include "../core/file.h"
#include "levin/core/error.h"

namespace levin {
namespace {

detail::File open_array_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);  // a user's symbolic link to a file is welcome
  return detail::File::open_to_read(error ? path : real, "data");
}

}  // namespace

FileArray::FileArray(const std::string& path, std::string location)
    : file_(std::make_unique<detail::File>(open_array_file(path))), location_(std::move(location)) {}

FileArray::~FileArray() = default;

void FileArray::refuse(const std::string& why, const std::string& remedy) const {
  throw DataError(fmt::format("{} {}", location_, why), remedy);
}

void FileArray::locate(at::ScalarType dtype, std::vector<int64_t> shape, uint64_t offset) {
  if (shape.empty()) refuse("is a scalar, so it has no rows", "name an array with a row for each sample");
  dtype_ = dtype;
  shape_ = std::move(shape);
  offset_ = offset;
  row_bytes_ = c10::elementSize(dtype_);
  for (size_t i = 1; i < shape_.size(); i++) row_bytes_ *= static_cast<size_t>(shape_[i]);
}

void FileArray::read(int64_t first, int64_t count, void* out) const {
  if (first < 0 || count < 0 || first > rows() - count)
    throw UsageError("data", fmt::format("rows {} to {} of {}, which has {}", first, first + count, location_, rows()));
  const size_t bytes = static_cast<size_t>(count) * row_bytes_;
  file_->read_at(out, bytes, offset_ + static_cast<uint64_t>(first) * row_bytes_);
  if (dtype_ != at::ScalarType::Bool) return;
  for (const auto *byte = static_cast<const uint8_t*>(out), *end = byte + bytes; byte != end;
       byte++)  // another value is undefined behaviour
    if (*byte > 1) refuse(fmt::format("has the value {}, and its dtype is bool", *byte), "write it as uint8, or with 0 and 1 only");
}

Tensor FileArray::read(int64_t first, int64_t count) const {
  auto shape = shape_;
  shape.front() = std::max<int64_t>(count, 0);
  Tensor rows = at::empty(shape, dtype_);
  read(first, count, rows.mutable_data_ptr());
  return rows;
}

}  // namespace levin
