#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "file.h"
#include "hdf5_handle.h"

namespace levin::detail {

/// What a data set of an HDF5 file is, and where in the file its bytes lie.
struct StoredArray {
  c10::ScalarType dtype = c10::ScalarType::Byte;
  std::vector<int64_t> shape;
  bool is_text = false;  ///< a scalar string: uint8 of its bytes
  uint64_t offset = 0, bytes = 0;
};

/// Opens what lies behind this descriptor, whatever has happened to the path meanwhile. Not good() where it is no HDF5 file.
Hdf5Handle open_hdf5(const File& file);

/// Looks at properties only, inside a Hdf5Section; HDF5 is never asked for data. Calls `refuse`, which throws, with a reason for anything
/// but a contiguous layout of a type that we have inside of the file's bytes: so for external storage, virtual and chunked data sets,
/// filters, references.
StoredArray look_at_array(hid_t set, uint64_t file_bytes, const std::function<void(const std::string& why)>& refuse);

}  // namespace levin::detail
