#pragma once
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace levin {

class Hdf5Array;

namespace detail {
class ChunkCache;
class Hdf5Chunks;
}  // namespace detail

/// A row of a data set, and the row of the output that it is read to.
struct RowRequest {
  int64_t row = 0, position = 0;
};

/// A data set of an HDF5 file of any common layout, read by rows (its first dimension): contiguous, chunked, unlimited, compact;
/// compressed (gzip and shuffle, and whatever filters the HDF5 library has, such as lz4 by a plug-in); little- or big-endian numbers, bool,
/// enumerations (their integers), and texts. Contiguous little-endian numbers are read past HDF5 (Hdf5Array). Others go through HDF5, which
/// must parse the file for each chunk: read files of others in this way only where you trust them. Not read: data in other files (external
/// links and storage, virtual data sets), compound and variable-length values.
class Hdf5Rows {
 public:
  /// DataError with file, name and what to do for a data set that cannot be read; IoError where the file cannot be opened. Decoded chunks
  /// are kept in `cache`; null: in one for this data set, of 16 MiB.
  Hdf5Rows(const std::filesystem::path& file, const std::string& name, std::shared_ptr<detail::ChunkCache> cache = nullptr);
  ~Hdf5Rows();

  /// Of a data set of texts: Byte.
  at::ScalarType dtype() const noexcept;
  at::IntArrayRef shape() const noexcept;
  int64_t rows() const noexcept { return shape().front(); }
  size_t row_bytes() const noexcept;
  /// "FILE: NAME", for messages.
  const std::string& location() const noexcept { return location_; }

  /// Each row to its position in `out`, in units of row_bytes(). A chunk is decoded once for all of its rows. Several threads may read at
  /// once. UsageError for rows outside of [0, rows()); DataError for a corrupt chunk.
  void read(std::span<const RowRequest> requests, void* out) const;

  /// Strings, of a fixed or variable length.
  bool is_text() const noexcept;
  /// The text of every row, without padding; reads all of them.
  std::vector<std::string> texts() const;

 private:
  std::string location_;
  std::unique_ptr<Hdf5Array> direct_;  // one of the two
  std::unique_ptr<detail::Hdf5Chunks> chunks_;
};

}  // namespace levin
