#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "../core/hdf5_handle.h"

namespace levin::detail {

/// A sparse file in memory for HDF5: only written pages exist, so the layout of many GB takes a few pages of metadata. HDF5's core driver
/// would allocate the whole file, and on a full disk HDF5 1.10 fails and then crashes in MPI_Finalize.
class SparseFile {
 public:
  static constexpr size_t page_bytes = 4096;

  /// Sets the driver of `access`, a file access property list, to this file; the name of the file is ignored. Call it in a Hdf5Section.
  void use_for(hid_t access);

  uint64_t bytes() const noexcept { return bytes_; }
  /// Written pages by offset, a multiple of page_bytes. All other bytes are zero.
  const std::map<uint64_t, std::string>& pages() const noexcept { return pages_; }

  void write(uint64_t offset, const char* data, size_t bytes);
  void read(uint64_t offset, char* data, size_t bytes) const;
  void set_bytes(uint64_t bytes) noexcept { bytes_ = bytes; }

 private:
  std::map<uint64_t, std::string> pages_;
  uint64_t bytes_ = 0;
};

}  // namespace levin::detail
