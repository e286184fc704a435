#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "file.h"
#include "hdf5_handle.h"

namespace levin::detail {

/// A data set of an HDF5 file: type, shape, and the place of its bytes in the file.
struct StoredArray {
  c10::ScalarType dtype = c10::ScalarType::Byte;
  std::vector<int64_t> shape;
  bool is_text = false;  ///< a scalar string: uint8 of its bytes
  uint64_t offset = 0, bytes = 0;
};

/// Opens the file behind this descriptor, even if its path names another file by now. Not good() where it is not an HDF5 file.
Hdf5Handle open_hdf5(const File& file);

/// Throws an error about a data set: what is wrong with it, and what its owner can do.
using RefuseArray = std::function<void(const std::string& why, const std::string& remedy)>;

/// Looks at properties only, inside a Hdf5Section; HDF5 is never asked for data. Calls `refuse`, which throws, for anything but a
/// contiguous layout of a supported type inside the file's bytes: for external storage, virtual and chunked data sets, filters, references.
StoredArray check_array(hid_t set, uint64_t file_bytes, const RefuseArray& refuse);

}  // namespace levin::detail
