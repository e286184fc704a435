#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "../core/hdf5_handle.h"

namespace levin::detail {

/// A file in memory that HDF5 writes to, of which only pages that were written exist: a layout of many GB is a few pages of metadata. HDF5
/// has a driver for files in memory, which takes the memory of the whole file; and on a disk a layout could fail for want of room, after
/// which HDF5 1.10 crashes at MPI_Finalize.
class SparseFile {
 public:
  static constexpr size_t page_bytes = 4096;

  /// Makes `access` (a file access property list) create this file; its name then means nothing. Inside a Hdf5Section.
  void use_for(hid_t access);

  uint64_t bytes() const noexcept { return bytes_; }
  /// By offset, a multiple of page_bytes. What is not there is zero.
  const std::map<uint64_t, std::string>& pages() const noexcept { return pages_; }

  void write(uint64_t offset, const char* data, size_t bytes);
  void read(uint64_t offset, char* data, size_t bytes) const;
  void set_bytes(uint64_t bytes) noexcept { bytes_ = bytes; }

 private:
  std::map<uint64_t, std::string> pages_;
  uint64_t bytes_ = 0;
};

}  // namespace levin::detail
