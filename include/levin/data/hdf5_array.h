#pragma once
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

namespace detail {
class File;
}

/// A data set of an HDF5 file, read by rows (its first dimension). HDF5 only locates it; bytes are read by pread, so threads can read
/// concurrently. Nothing in the file is trusted: a data set must be contiguous, unfiltered, in the file itself, and of a little-endian
/// type.
class Hdf5Array {
 public:
  /// `name` may have groups: "train/tokens" or "/train/tokens". DataError with file, name, what the object is and what to do, for a data
  /// set that is missing or not supported; IoError where the file cannot be opened.
  Hdf5Array(const std::filesystem::path& file, const std::string& name);
  ~Hdf5Array();

  at::ScalarType dtype() const noexcept { return dtype_; }
  at::IntArrayRef shape() const noexcept { return shape_; }
  /// shape()[0].
  int64_t rows() const noexcept { return shape_.front(); }
  size_t row_bytes() const noexcept { return row_bytes_; }
  /// "FILE: NAME", for messages.
  const std::string& location() const noexcept { return location_; }

  /// Rows [first, first + count) into `out`, which has count * row_bytes() bytes. UsageError for rows outside of [0, rows()).
  void read(int64_t first, int64_t count, void* out) const;
  /// The same as a new tensor.
  Tensor read(int64_t first, int64_t count) const;

 private:
  std::unique_ptr<detail::File> file_;
  std::string location_;
  at::ScalarType dtype_ = at::ScalarType::Byte;
  std::vector<int64_t> shape_;
  size_t row_bytes_ = 0;
  uint64_t offset_ = 0;
};

}  // namespace levin
