#include "hdf5_array.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "hdf5_types.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

// What people have at hand to write a data set anew.
constexpr auto rewrite = "copy it with h5py into a new file, which stores it contiguously: new[name] = old[name][()]";

std::vector<int64_t> shape_of(hid_t space, const RefuseArray& refuse) {
  const auto kind = H5Sget_simple_extent_type(space);
  if (kind == H5S_NULL) refuse("has a null dataspace, so it has no shape and no elements", "write it with a shape");
  const int dims = H5Sget_simple_extent_ndims(space);
  if ((kind != H5S_SCALAR && kind != H5S_SIMPLE) || dims < 0 || dims > H5S_MAX_RANK) refuse("has no valid shape", "write the file again");
  std::vector<hsize_t> sizes(static_cast<size_t>(dims));
  if (dims > 0 && H5Sget_simple_extent_dims(space, sizes.data(), nullptr) < 0) refuse("has no valid shape", "write the file again");
  std::vector<int64_t> shape;
  for (const hsize_t size : sizes) {
    if (size > static_cast<hsize_t>(std::numeric_limits<int64_t>::max()))
      refuse("has more elements than 64 bits count", "write the file again");
    shape.push_back(static_cast<int64_t>(size));
  }
  return shape;
}

void read_type(hid_t type, StoredArray& stored, const RefuseArray& refuse) {
  if (const auto dtype = dtype_of(type)) {
    stored.dtype = *dtype;
    return;
  }
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || !stored.shape.empty()) {
    const auto [kind, remedy] = unsupported_type(type);
    refuse(fmt::format("holds {}, which Levin does not read", kind), remedy);
  }
  stored.is_text = true;
  stored.dtype = c10::ScalarType::Byte;
  stored.shape = {static_cast<int64_t>(H5Tget_size(type))};
}

std::string filters_of(hid_t create) {
  std::vector<std::string> names;
  for (int i = 0, count = H5Pget_nfilters(create); i < count; i++) {
    unsigned flags = 0, config = 0;
    size_t values = 0;
    std::array<char, 64> name{};
    const auto filter = H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &values, nullptr, name.size() - 1, name.data(), &config);
    names.push_back(filter == H5Z_FILTER_DEFLATE ? "gzip" : name[0] ? sanitized(name.data()) : fmt::format("number {}", filter));
  }
  return joined(names);
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

StoredArray check_array(hid_t set, uint64_t file_bytes, const RefuseArray& refuse) {
  const Hdf5Handle create(H5Dget_create_plist(set), H5Pclose);
  const Hdf5Handle type(H5Dget_type(set), H5Tclose), space(H5Dget_space(set), H5Sclose);
  if (!create.good() || !type.good() || !space.good()) refuse("cannot be opened", "write the file again");
  const auto layout = H5Pget_layout(create);
  if (layout == H5D_VIRTUAL) refuse("is a virtual data set: its data are in other files", rewrite);
  if (H5Pget_external_count(create) != 0) refuse("has external storage: its data are in other files", rewrite);
  if (H5Pget_nfilters(create) != 0) refuse(fmt::format("has filters ({})", filters_of(create)), rewrite);

  StoredArray stored;
  stored.shape = shape_of(space, refuse);
  read_type(type, stored, refuse);
  if (layout != H5D_CONTIGUOUS) refuse(fmt::format("is {}, not contiguous", layout == H5D_CHUNKED ? "chunked" : "compact"), rewrite);
  stored.bytes = c10::elementSize(stored.dtype);
  for (const int64_t size : stored.shape)
    if (__builtin_mul_overflow(stored.bytes, static_cast<uint64_t>(size), &stored.bytes))
      refuse("has more elements than 64 bits count", "write the file again");
  if (stored.bytes == 0) return stored;
  const haddr_t offset = H5Dget_offset(set);
  if (offset == HADDR_UNDEF)
    refuse(fmt::format("was created and never written: the file has no storage for its {} bytes", stored.bytes),
           "write its values: file[name][...] = values");
  if (offset > file_bytes || stored.bytes > file_bytes - offset)
    refuse(fmt::format("has {} bytes from byte {}, but the file has {}", stored.bytes, offset, file_bytes), "copy or write the file again");
  if (H5Dget_storage_size(set) != stored.bytes)
    refuse(fmt::format("has storage for {} bytes, but its shape and type need {}", H5Dget_storage_size(set), stored.bytes),
           "write the file again");
  stored.offset = offset;
  return stored;
}

}  // namespace levin::detail
