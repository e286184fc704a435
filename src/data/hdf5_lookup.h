#pragma once
#include <string>

#include "../core/hdf5_array.h"

namespace levin::detail {

/// Opens the data set `name` of a file, inside a Hdf5Section: "x", "/x" and "train/x". Every part of the name must be a hard link, so that
/// the data set is in the file itself. Calls `refuse` for any other object, with the names that the file has.
Hdf5Handle open_data_set(hid_t file, const std::string& name, const RefuseArray& refuse);

}  // namespace levin::detail
