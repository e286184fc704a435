#include "hdf5_array.h"

#include <fmt/format.h>

#include <limits>

#include "hdf5_types.h"

namespace levin::detail {
namespace {

using Refuse = std::function<void(const std::string&)>;

std::vector<int64_t> shape_of(hid_t space, const Refuse& refuse) {
  const auto kind = H5Sget_simple_extent_type(space);
  const int dims = H5Sget_simple_extent_ndims(space);
  if ((kind != H5S_SCALAR && kind != H5S_SIMPLE) || dims < 0 || dims > H5S_MAX_RANK) refuse("has no shape");
  std::vector<hsize_t> sizes(static_cast<size_t>(dims));
  if (dims > 0 && H5Sget_simple_extent_dims(space, sizes.data(), nullptr) < 0) refuse("has no shape");
  std::vector<int64_t> shape;
  for (const hsize_t size : sizes) {
    if (size > static_cast<hsize_t>(std::numeric_limits<int64_t>::max())) refuse("has more elements than can be counted");
    shape.push_back(static_cast<int64_t>(size));
  }
  return shape;
}

void read_type(hid_t type, StoredArray& stored, const Refuse& refuse) {
  if (const auto dtype = dtype_of(type)) {
    stored.dtype = *dtype;
    return;
  }
  if (H5Tget_class(type) == H5T_REFERENCE) refuse("holds references to objects");
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || !stored.shape.empty())
    refuse("is of a type that Levin does not read");
  stored.is_text = true;
  stored.dtype = c10::ScalarType::Byte;
  stored.shape = {static_cast<int64_t>(H5Tget_size(type))};
}

}  // namespace

Hdf5Handle open_hdf5(const File& file) {
  const Hdf5Section section;
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_sec2(access);
  H5Pset_file_locking(access, false, true);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);  // what HDF5 leaves open of a damaged file is closed, too
  return {H5Fopen(fmt::format("/proc/self/fd/{}", file.descriptor()).c_str(), H5F_ACC_RDONLY, access), H5Fclose};
}

StoredArray look_at_array(hid_t set, uint64_t file_bytes, const Refuse& refuse) {
  const Hdf5Handle create(H5Dget_create_plist(set), H5Pclose);
  if (!create.good()) refuse("cannot be opened");
  const auto layout = H5Pget_layout(create);
  if (layout == H5D_VIRTUAL) refuse("is a virtual data set: its data are in other files");
  if (H5Pget_external_count(create) != 0) refuse("has external storage: its data are in other files");
  if (H5Pget_nfilters(create) != 0) refuse("has filters");
  if (layout != H5D_CONTIGUOUS) refuse("is not contiguous");

  StoredArray stored;
  const Hdf5Handle type(H5Dget_type(set), H5Tclose), space(H5Dget_space(set), H5Sclose);
  if (!type.good() || !space.good()) refuse("cannot be opened");
  stored.shape = shape_of(space, refuse);
  read_type(type, stored, refuse);
  stored.bytes = c10::elementSize(stored.dtype);
  for (const int64_t size : stored.shape)
    if (__builtin_mul_overflow(stored.bytes, static_cast<uint64_t>(size), &stored.bytes)) refuse("has more elements than can be counted");
  if (stored.bytes == 0) return stored;
  const haddr_t offset = H5Dget_offset(set);
  if (offset == HADDR_UNDEF || offset > file_bytes || stored.bytes > file_bytes - offset)
    refuse(fmt::format("has {} bytes from byte {}, and the file has {}", stored.bytes,
                       offset == HADDR_UNDEF ? "nowhere" : std::to_string(offset), file_bytes));
  if (H5Dget_storage_size(set) != stored.bytes)
    refuse(fmt::format("has storage of {} bytes for {}", H5Dget_storage_size(set), stored.bytes));
  stored.offset = offset;
  return stored;
}

}  // namespace levin::detail
