#include "file_layout.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <unordered_set>

#include "../core/hdf5_types.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "sparse_file.h"
#include "xxh3.h"

namespace levin::detail {
namespace {

constexpr hsize_t metadata_bytes = 64 << 10;  // HDF5 allocates metadata in blocks of this size, which keeps it contiguous
constexpr uint64_t least_text_bytes = 64;
constexpr size_t most_dims = 32;  // HDF5's limit

// Rounds up to a power of two: texts change with every save, and the layout should not.
uint64_t rounded(uint64_t text_bytes) { return std::bit_ceil(std::max(text_bytes, least_text_bytes)); }

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw UsageError("checkpoint", fmt::format("{} {}", quote(name), why));
}

void check_name(const std::string& name) {
  if (first_bad_byte(name) != std::string::npos || name.find('\n') != std::string::npos)
    refuse(name, "is not a valid name: not a single line of UTF-8");
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = name.find('/', begin);
    const auto part = name.substr(begin, end == std::string::npos ? end : end - begin);
    if (part.empty() || part == "." || part == "..") refuse(name, "is not a valid name: path component empty, \".\" or \"..\"");
  }
}

// Names are unique, and none is also a group of another name.
void check_names(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts) {
  std::unordered_set<std::string> names, groups;
  const auto add = [&](const std::string& name) {
    check_name(name);
    if (!names.insert(name).second) refuse(name, "is a duplicate name");
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) groups.insert(name.substr(0, slash));
  };
  for (const auto& tensor : tensors) add(tensor.name);
  for (const auto& text : texts) add(text.name);
  for (const auto& name : names)
    if (groups.contains(name)) refuse(name, "is both a tensor or text and a group");
}

void check_shape(const TensorEntry& tensor) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  bool good = tensor.shape.size() <= most_dims;
  for (const int64_t size : tensor.shape) good = good && size >= 0 && !__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
  if (!good) refuse(tensor.name, fmt::format("has {} dimensions, a negative size, or a size that overflows", tensor.shape.size()));
}

/// Creates the data sets of a file through HDF5, without writing them.
class LayoutFile {
 public:
  LayoutFile(SparseFile& file, uint64_t alignment)
      : create_(H5P_DATASET_CREATE), group_(H5P_GROUP_CREATE), link_(H5P_LINK_CREATE), file_(open(file, alignment)) {
    if (!file_.good()) fail("a file");
    const Hdf5Section section;
    // Allocate data sets at once, so that H5Dget_offset knows their offsets, and never fill them.
    H5Pset_layout(create_.id, H5D_CONTIGUOUS);
    H5Pset_alloc_time(create_.id, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(create_.id, H5D_FILL_TIME_NEVER);
    // No timestamps: equal states give equal bytes.
    H5Pset_obj_track_times(create_.id, false);
    H5Pset_obj_track_times(group_.id, false);
    H5Pset_char_encoding(link_.id, H5T_CSET_UTF8);
  }

  FileLayout::Extent add(const TensorEntry& tensor) {
    const Hdf5Section section;
    const auto type = hdf5_type(tensor.dtype);
    if (!type) refuse(tensor.name, fmt::format("has dtype {}, which checkpoints do not support", c10::toString(tensor.dtype)));
    const std::vector<hsize_t> shape(tensor.shape.begin(), tensor.shape.end());
    const Hdf5Handle space(shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                           H5Sclose);
    return add(tensor.name, *type, space, static_cast<uint64_t>(tensor.bytes()));
  }

  FileLayout::Extent add(const TextEntry& text) {
    const uint64_t bytes = rounded(text.text.size());
    const Hdf5Section section;
    return add(text.name, hdf5_text_type(bytes), {H5Screate(H5S_SCALAR), H5Sclose}, bytes);
  }

  void close() {
    if (!file_.close()) fail("a file");
  }

 private:
  struct Properties {
    explicit Properties(hid_t kind)
        : id(
              [&] {
                const Hdf5Section section;
                return H5Pcreate(kind);
              }(),
              H5Pclose) {}
    Hdf5Handle id;
  };

  static Hdf5Handle open(SparseFile& file, hsize_t alignment) {
    const Hdf5Section section;
    const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    // One rank lays the file out, and all ranks write their data by pwrite. Compared with collective creation and H5Dwrite of parallel
    // HDF5: equally fast for a few large tensors, twice as fast for thousands. Parallel HDF5 also ignores a full disk of one rank, or
    // hangs.
    file.use_for(access);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_alignment(access, alignment, alignment);
    H5Pset_meta_block_size(access, metadata_bytes);
    const Hdf5Handle create(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_obj_track_times(create, false);
    return {H5Fcreate("levin-checkpoint-layout", H5F_ACC_TRUNC, create, access), H5Fclose};
  }

  // Intermediate groups that HDF5 creates implicitly would have timestamps.
  void make_groups_of(const std::string& name) {
    for (size_t end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1)) {
      const auto [group, is_new] = groups_.insert(name.substr(0, end));
      if (is_new && !Hdf5Handle(H5Gcreate2(file_, group->c_str(), link_.id, group_.id, H5P_DEFAULT), H5Gclose).good()) fail(quote(*group));
    }
  }

  FileLayout::Extent add(const std::string& name, hid_t type, const Hdf5Handle& space, uint64_t bytes) {
    make_groups_of(name);
    const Hdf5Handle set(H5Dcreate2(file_, name.c_str(), type, space, link_.id, create_.id, H5P_DEFAULT), H5Dclose);
    if (!set.good()) fail(quote(name));
    if (bytes == 0) return {};  // HDF5 allocates nothing
    const haddr_t offset = H5Dget_offset(set);
    if (offset == HADDR_UNDEF) fail(quote(name));
    return {offset, bytes};
  }

  [[noreturn]] static void fail(const std::string& message) { throw UsageError("checkpoint", "HDF5 cannot lay out " + message); }

  Properties create_, group_, link_;
  std::unordered_set<std::string> groups_;
  Hdf5Handle file_;
};

// The bytes that HDF5 wrote outside of the data sets.
void read_metadata(const SparseFile& file, FileLayout& layout) {
  constexpr uint64_t chunk_bytes = 64 << 10;
  auto extents = layout.tensors;
  extents.insert(extents.end(), layout.texts.begin(), layout.texts.end());
  std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  Xxh3 hash;
  hash.reset();
  std::string bytes;
  for (auto [begin, end] : gaps_between(extents, layout.file_bytes))
    for (; begin < end; begin += bytes.size()) {
      bytes.resize(std::min(end - begin, chunk_bytes));
      file.read(begin, bytes.data(), bytes.size());
      hash.add(bytes.data(), bytes.size());
      if (bytes.find_first_not_of('\0') != std::string::npos) layout.metadata.emplace_back(begin, bytes);
    }
  layout.metadata_hash = hash.value();
}

}  // namespace

void check_names_and_shapes(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts) {
  check_names(tensors, texts);
  for (const auto& tensor : tensors) check_shape(tensor);
}

FileLayout make_layout(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts, uint64_t alignment) {
  FileLayout layout;
  SparseFile file;
  LayoutFile hdf5(file, alignment);
  for (const auto& tensor : tensors) layout.tensors.push_back(hdf5.add(tensor));
  for (const auto& text : texts) layout.texts.push_back(hdf5.add(text));
  hdf5.close();
  layout.file_bytes = file.bytes();
  read_metadata(file, layout);
  return layout;
}

std::string layout_key(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts) {
  std::string key;
  for (const auto& tensor : tensors) {
    key += fmt::format("{} {}", tensor.name, static_cast<int>(tensor.dtype));
    for (const int64_t size : tensor.shape) key += fmt::format(" {}", size);
    key += '\n';
  }
  for (const auto& text : texts) key += fmt::format("{} text {}\n", text.name, rounded(text.text.size()));
  return key;
}

std::vector<std::pair<uint64_t, uint64_t>> gaps_between(const std::vector<FileLayout::Extent>& sorted, uint64_t file_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> gaps;
  uint64_t begin = 0;
  for (const auto& extent : sorted) {
    if (extent.bytes == 0) continue;
    if (extent.offset > begin) gaps.emplace_back(begin, extent.offset);
    begin = extent.offset + extent.bytes;
  }
  if (begin < file_bytes) gaps.emplace_back(begin, file_bytes);
  return gaps;
}

}  // namespace levin::detail
