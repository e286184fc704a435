#pragma once
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

namespace detail {
class File;
}

/// An array that lies in one piece in a file, row-major and little-endian, read by rows (its first dimension). Bytes are read by pread, so
/// threads can read concurrently, and only what is asked for is in memory. Made by the readers of formats: Hdf5Array, NpyArray,
/// SafetensorsArray.
class FileArray {
 public:
  virtual ~FileArray();

  at::ScalarType dtype() const noexcept { return dtype_; }
  at::IntArrayRef shape() const noexcept { return shape_; }
  /// shape()[0].
  int64_t rows() const noexcept { return shape_.front(); }
  size_t row_bytes() const noexcept { return row_bytes_; }
  /// "FILE: NAME", for messages.
  const std::string& location() const noexcept { return location_; }

  /// Rows [first, first + count) into `out`, which has count * row_bytes() bytes. UsageError for rows outside of [0, rows()); DataError for
  /// a bool that is neither 0 nor 1, and where the file has become shorter.
  void read(int64_t first, int64_t count, void* out) const;
  /// The same as a new tensor.
  Tensor read(int64_t first, int64_t count) const;

 protected:
  /// Opens the file; a symbolic link to one is followed. DataError, with the path, for anything but a regular file.
  FileArray(const std::string& path, std::string location);
  /// Where the values are. DataError for a scalar.
  void locate(at::ScalarType dtype, std::vector<int64_t> shape, uint64_t offset);
  const detail::File& file() const noexcept { return *file_; }
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy) const;

 private:
  std::unique_ptr<detail::File> file_;
  std::string location_;
  at::ScalarType dtype_ = at::ScalarType::Byte;
  std::vector<int64_t> shape_;
  size_t row_bytes_ = 0;
  uint64_t offset_ = 0;
};

}  // namespace levin
