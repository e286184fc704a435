#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../core/hdf5_array.h"
#include "chunk_cache.h"
#include "chunk_filters.h"
#include "levin/data/hdf5_rows.h"

namespace levin::detail {

/// A data set that HDF5 must take part in reading: chunked, filtered, compact, big-endian, an enumeration, or of texts. It is read by
/// chunks, those of another layout by blocks of rows. HDF5 hands over stored chunks, under its lock; gzip and shuffle are undone here, by
/// the thread that asks. Chunks without storage (fill values) and with other filters are read by HDF5 alone.
class Hdf5Chunks {
 public:
  /// Looks at the data set's properties, inside a Hdf5Section. `refuse` throws.
  Hdf5Chunks(Hdf5Handle file, Hdf5Handle set, std::string location, uint64_t file_bytes, std::shared_ptr<ChunkCache> cache,
             const RefuseArray& refuse);

  c10::ScalarType dtype() const noexcept { return dtype_; }
  const std::vector<int64_t>& shape() const noexcept { return shape_; }
  size_t row_bytes() const noexcept { return row_bytes_; }
  bool is_text() const noexcept { return text_bytes_ > 0 || variable_text_; }

  /// Each row to its position in `out`. Rows are in range.
  void read(std::span<const RowRequest> requests, std::byte* out) const;
  /// All rows of a data set of texts, without padding.
  std::vector<std::string> texts() const;

 private:
  void read_type(hid_t type, const RefuseArray& refuse);
  void read_shape(const RefuseArray& refuse);
  void read_layout(const RefuseArray& refuse);
  void read_filters(hid_t create, const RefuseArray& refuse);
  std::vector<int64_t> offset_of(int64_t chunk) const;
  std::vector<std::byte> decode(int64_t chunk) const;
  std::vector<std::byte> read_by_hdf5(const std::vector<int64_t>& offset) const;
  void copy_row(const std::byte* chunk, int64_t row, const std::vector<int64_t>& offset, std::byte* out) const;
  std::vector<std::string> variable_texts() const;
  [[noreturn]] void fail(const std::vector<int64_t>& offset) const;

  Hdf5Handle file_, set_, memory_type_;
  std::string location_;
  uint64_t file_bytes_;
  std::shared_ptr<ChunkCache> cache_;
  c10::ScalarType dtype_ = c10::ScalarType::Byte;
  std::vector<int64_t> shape_, chunk_, grid_;  // elements, elements of a chunk, chunks
  size_t element_bytes_ = 1, row_bytes_ = 0, chunk_bytes_ = 0;
  size_t text_bytes_ = 0;
  bool variable_text_ = false, space_padded_ = false, swapped_ = false, by_hdf5_ = false;
  std::vector<ChunkFilter> filters_;
};

}  // namespace levin::detail
