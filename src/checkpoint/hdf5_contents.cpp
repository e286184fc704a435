#include "hdf5_contents.h"

#include <algorithm>
#include <limits>
#include <set>

#include "hdf5_types.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr size_t most_depth = 64, most_datasets = 10'000'000;

class Walk {
 public:
  explicit Walk(const File& file) : path_(file.path().string()), file_bytes_(file.size()), file_(open(file)) {
    if (!file_.good()) refuse("is no HDF5 file, or a damaged one");
  }

  std::vector<StoredDataset> all() {
    look_into({"", 0});
    // A list instead of recursion: a hostile file must not choose the depth of our stack.
    while (!groups_.empty()) {
      const auto group = groups_.back();
      groups_.pop_back();
      look_into(group);
    }
    std::sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    uint64_t end_before = 0;
    for (const auto& set : found_) {
      if (set.bytes == 0) continue;
      if (set.offset < end_before) refuse("lies where another data set is", set.entry.name);
      end_before = set.offset + set.bytes;
    }
    return std::move(found_);
  }

 private:
  struct Group {
    std::string name;
    size_t depth;
  };
  struct Link {
    std::string name;
    H5L_type_t type;
  };

  // What lies behind this descriptor, whatever has happened to the path meanwhile.
  static Hdf5Handle open(const File& file) {
    const Hdf5Section section;
    const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_fapl_sec2(access);
    H5Pset_file_locking(access, false, true);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);  // what HDF5 leaves open of a damaged file is closed, too
    return {H5Fopen(fmt::format("/proc/self/fd/{}", file.descriptor()).c_str(), H5F_ACC_RDONLY, access), H5Fclose};
  }

  [[noreturn]] void refuse(const std::string& why, const std::string& name = {}) const {
    throw DataError(fmt::format("{}{} {}", path_, name.empty() ? "" : ": " + shown(name), why), "use a checkpoint that Levin wrote",
                    "checkpoint");
  }

  std::vector<Link> links_of(const Group& group) {
    const Hdf5Section section;
    std::vector<Link> links;
    hsize_t index = 0;
    const auto note = [](hid_t, const char* name, const H5L_info_t* info, void* data) -> herr_t {
      auto& noted = *static_cast<std::vector<Link>*>(data);
      if (noted.size() >= most_datasets) return -1;
      noted.push_back({name, info->type});
      return 0;
    };
    if (H5Literate_by_name(file_, group.name.empty() ? "/" : group.name.c_str(), H5_INDEX_NAME, H5_ITER_NATIVE, &index, note, &links,
                           H5P_DEFAULT) < 0)
      refuse("is a group that cannot be read", group.name.empty() ? "/" : group.name);
    return links;
  }

  void look_into(const Group& group) {
    for (const auto& link : links_of(group)) {
      const auto name = group.name.empty() ? link.name : group.name + "/" + link.name;
      if (link.type == H5L_TYPE_SOFT) refuse("is a soft link", name);
      if (link.type == H5L_TYPE_EXTERNAL) refuse("is a link to another file", name);
      if (link.type != H5L_TYPE_HARD) refuse("is a link of an unknown kind", name);
      if (link.name.find('/') != std::string::npos || link.name.empty() || first_bad_byte(name) != std::string::npos)
        refuse("is no name", name);
      const Hdf5Section section;  // for one object at a time
      H5O_info_t info;
      if (H5Oget_info_by_name2(file_, name.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) refuse("cannot be read", name);
      if (!addresses_.insert(info.addr).second) refuse("has a second name", name);
      if (info.type == H5O_TYPE_GROUP) {
        if (group.depth >= most_depth) refuse(fmt::format("is nested deeper than {} groups", most_depth), name);
        groups_.push_back({name, group.depth + 1});
      } else if (info.type == H5O_TYPE_DATASET) {
        look_at(name);
      } else {
        refuse("is neither a group nor a data set", name);
      }
    }
  }

  // Properties only; HDF5 is never asked for data.
  void look_at(const std::string& name) {
    if (found_.size() >= most_datasets) refuse(fmt::format("has more than {} data sets", most_datasets));
    const Hdf5Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!set.good()) refuse("cannot be opened", name);
    const Hdf5Handle create(H5Dget_create_plist(set), H5Pclose);
    if (!create.good()) refuse("cannot be opened", name);
    const auto layout = H5Pget_layout(create);
    if (layout == H5D_VIRTUAL) refuse("is a virtual data set: its data are in other files", name);
    if (H5Pget_external_count(create) != 0) refuse("has external storage: its data are in other files", name);
    if (H5Pget_nfilters(create) != 0) refuse("has filters", name);
    if (layout != H5D_CONTIGUOUS) refuse("is not contiguous", name);

    StoredDataset stored;
    stored.entry.name = name;
    const Hdf5Handle type(H5Dget_type(set), H5Tclose), space(H5Dget_space(set), H5Sclose);
    if (!type.good() || !space.good()) refuse("cannot be opened", name);
    read_shape(space, stored);
    read_type(type, stored);
    uint64_t bytes = c10::elementSize(stored.entry.dtype);
    for (const int64_t size : stored.entry.shape)
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) refuse("has more elements than can be counted", name);
    stored.bytes = bytes;
    if (bytes > 0) {
      const haddr_t offset = H5Dget_offset(set);
      if (offset == HADDR_UNDEF || offset > file_bytes_ || bytes > file_bytes_ - offset)
        refuse(fmt::format("has {} bytes from byte {}, and the file has {}", bytes,
                           offset == HADDR_UNDEF ? "nowhere" : std::to_string(offset), file_bytes_),
               name);
      if (H5Dget_storage_size(set) != bytes) refuse(fmt::format("has storage of {} bytes for {}", H5Dget_storage_size(set), bytes), name);
      stored.offset = offset;
    }
    found_.push_back(std::move(stored));
  }

  void read_shape(hid_t space, StoredDataset& stored) const {
    const auto kind = H5Sget_simple_extent_type(space);
    const int dims = H5Sget_simple_extent_ndims(space);
    if ((kind != H5S_SCALAR && kind != H5S_SIMPLE) || dims < 0 || dims > H5S_MAX_RANK) refuse("has no shape", stored.entry.name);
    std::vector<hsize_t> shape(static_cast<size_t>(dims));
    if (dims > 0 && H5Sget_simple_extent_dims(space, shape.data(), nullptr) < 0) refuse("has no shape", stored.entry.name);
    for (const hsize_t size : shape) {
      if (size > static_cast<hsize_t>(std::numeric_limits<int64_t>::max()))
        refuse("has more elements than can be counted", stored.entry.name);
      stored.entry.shape.push_back(static_cast<int64_t>(size));
    }
  }

  void read_type(hid_t type, StoredDataset& stored) const {
    if (const auto dtype = dtype_of(type)) {
      stored.entry.dtype = *dtype;
      return;
    }
    if (H5Tget_class(type) == H5T_REFERENCE) refuse("holds references to objects", stored.entry.name);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || !stored.entry.shape.empty())
      refuse("is of a type that checkpoints do not have", stored.entry.name);
    stored.is_text = true;
    stored.entry.dtype = c10::ScalarType::Byte;
    stored.entry.shape = {static_cast<int64_t>(H5Tget_size(type))};
  }

  std::string path_;
  uint64_t file_bytes_;
  Hdf5Handle file_;
  std::vector<Group> groups_;
  std::set<haddr_t> addresses_;
  std::vector<StoredDataset> found_;
};

}  // namespace

std::vector<StoredDataset> read_contents(const File& file) { return Walk(file).all(); }

}  // namespace levin::detail
