#include "hdf5_chunks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>

#include "../core/hdf5_types.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr auto rewrite_set = "copy it with h5py into a new file: new[name] = old[name][()]";
constexpr size_t rows_block_bytes = size_t{1} << 20;        // of layouts without chunks
constexpr size_t most_chunk_bytes = (size_t{1} << 32) - 1;  // HDF5's own limit

// HDF5 itself says "Unknown user-defined filter" where the file has no name for it.
std::string filter_name(H5Z_filter_t filter, const char* name) {
  const bool known = *name && !std::string_view(name).starts_with("Unknown");
  switch (filter) {
    case 307: return "bzip2";
    case 32000: return "lzf";
    case 32001: return "blosc";
    case 32004: return "lz4";
    case 32015: return "zstd";
    default: return known ? sanitized(name) : fmt::format("number {}", filter);
  }
}

size_t product(std::span<const int64_t> sizes, size_t first_factor) {
  size_t result = first_factor;
  for (const auto size : sizes)
    if (__builtin_mul_overflow(result, static_cast<size_t>(size), &result)) return std::numeric_limits<size_t>::max();
  return result;
}

// A copy of it can be changed, though the file's type may be a named one.
hid_t changeable_type(hid_t set) {
  const Hdf5Handle type(H5Dget_type(set), H5Tclose);
  return type.good() ? H5Tcopy(type) : -1;
}

std::string without_padding(const char* text, size_t bytes, bool space_padded) {
  std::string_view content(text, strnlen(text, bytes));
  if (space_padded) content = content.substr(0, content.find_last_not_of(' ') + 1);
  return std::string(content);
}

}  // namespace

Hdf5Chunks::Hdf5Chunks(Hdf5Handle file, Hdf5Handle set, std::string location, uint64_t file_bytes, std::shared_ptr<ChunkCache> cache,
                       const RefuseArray& refuse)
    : file_(std::move(file)),
      set_(std::move(set)),
      memory_type_(changeable_type(set_), H5Tclose),
      location_(std::move(location)),
      file_bytes_(file_bytes),
      cache_(std::move(cache)) {
  if (!memory_type_.good()) refuse("cannot be opened", "write the file again");
  read_type(memory_type_, refuse);
  read_shape(refuse);
  read_layout(refuse);
}

void Hdf5Chunks::read_type(hid_t type, const RefuseArray& refuse) {
  const auto kind = H5Tget_class(type);
  const auto use = [&](c10::ScalarType dtype) { dtype_ = dtype, element_bytes_ = c10::elementSize(dtype); };
  if (const auto dtype = dtype_of(type)) return use(*dtype);
  if (kind == H5T_STRING) {
    variable_text_ = H5Tis_variable_str(type) > 0;
    space_padded_ = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    if (!variable_text_) text_bytes_ = element_bytes_ = H5Tget_size(type);
    return;
  }
  if (kind == H5T_ENUM) {
    const Hdf5Handle base(H5Tget_super(type), H5Tclose);
    if (const auto dtype = dtype_of(base)) return use(*dtype);
  }
  if ((kind == H5T_INTEGER || kind == H5T_FLOAT) && H5Tget_order(type) == H5T_ORDER_BE) {
    // Only the type of the memory is changed: HDF5 would convert to it.
    H5Tset_order(type, H5T_ORDER_LE);
    if (const auto dtype = dtype_of(type)) return swapped_ = true, use(*dtype);
  }
  const auto [words, remedy] = unsupported_type(type);
  refuse(fmt::format("holds {}, which Levin does not read", words), remedy);
}

void Hdf5Chunks::read_shape(const RefuseArray& refuse) {
  const Hdf5Handle space(H5Dget_space(set_), H5Sclose);
  const int dims = space.good() && H5Sget_simple_extent_type(space) == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : 0;
  if (dims < 1 || dims > H5S_MAX_RANK) refuse("is a scalar, so it has no rows", "name a data set with a row for each sample");
  std::array<hsize_t, H5S_MAX_RANK> sizes{};
  if (H5Sget_simple_extent_dims(space, sizes.data(), nullptr) < 0) refuse("has no valid shape", "write the file again");
  for (int i = 0; i < dims; ++i) {
    if (sizes[static_cast<size_t>(i)] > static_cast<hsize_t>(std::numeric_limits<int64_t>::max()))
      refuse("has more elements than 64 bits count", "write the file again");
    shape_.push_back(static_cast<int64_t>(sizes[static_cast<size_t>(i)]));
  }
  row_bytes_ = product(std::span(shape_).subspan(1), element_bytes_);
  if (product(shape_, element_bytes_) == std::numeric_limits<size_t>::max())
    refuse("has more elements than 64 bits count", "write the file again");
  if (is_text() && row_bytes_ != element_bytes_) refuse("holds texts in several dimensions", "write one text for each row");
}

void Hdf5Chunks::read_layout(const RefuseArray& refuse) {
  const Hdf5Handle create(H5Dget_create_plist(set_), H5Pclose);
  if (!create.good()) refuse("cannot be opened", "write the file again");
  const auto layout = H5Pget_layout(create);
  if (layout == H5D_VIRTUAL) refuse("is a virtual data set: its data are in other files", rewrite_set);
  if (H5Pget_external_count(create) != 0) refuse("has external storage: its data are in other files", rewrite_set);
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, H5S_MAX_RANK> sizes{};
    if (H5Pget_chunk(create, static_cast<int>(sizes.size()), sizes.data()) != static_cast<int>(shape_.size()))
      refuse("has chunks of another number of dimensions", "write the file again");
    chunk_.assign(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(shape_.size()));
    read_filters(create, refuse);
  } else {
    chunk_ = shape_;
    chunk_[0] = std::max<int64_t>(1, static_cast<int64_t>(rows_block_bytes / std::max<size_t>(row_bytes_, 1)));
    by_hdf5_ = true;
  }
  chunk_bytes_ = product(chunk_, element_bytes_);
  if (chunk_bytes_ > most_chunk_bytes) refuse(fmt::format("has chunks of shape {}", chunk_), "write it with chunks of about a megabyte");
  for (size_t i = 0; i < shape_.size(); ++i) grid_.push_back(chunk_[i] > 0 ? (shape_[i] + chunk_[i] - 1) / chunk_[i] : 0);
}

// Other filters than gzip and shuffle, and chunks at the edge that none was applied to, are left to HDF5.
void Hdf5Chunks::read_filters(hid_t create, const RefuseArray& refuse) {
  unsigned options = 0;
  if (H5Pget_chunk_opts(create, &options) < 0 || options != 0) by_hdf5_ = true;
  size_t compressions = 0;
  for (int i = 0, count = H5Pget_nfilters(create); i < count; ++i) {
    unsigned flags = 0, config = 0;
    std::array<unsigned, 8> values{};
    size_t value_count = values.size();
    std::array<char, 64> name{};
    const auto filter =
        H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &value_count, values.data(), name.size() - 1, name.data(), &config);
    if (filter == H5Z_FILTER_DEFLATE && ++compressions == 1) {
      filters_.push_back({ChunkFilter::Kind::gzip});
    } else if (filter == H5Z_FILTER_SHUFFLE && compressions == 0 && value_count >= 1) {
      filters_.push_back({ChunkFilter::Kind::shuffle, values[0]});
    } else {
      by_hdf5_ = true;
    }
    if (H5Zfilter_avail(filter) <= 0)
      refuse(fmt::format("has the filter {}, which this HDF5 library lacks", filter_name(filter, name.data())),
             "set HDF5_PLUGIN_PATH to the folder of its plug-in, or " + std::string(rewrite_set));
  }
}

std::vector<int64_t> Hdf5Chunks::offset_of(int64_t chunk) const {
  std::vector<int64_t> offset(shape_.size());
  for (size_t i = shape_.size(); i-- > 0;) {
    offset[i] = chunk % grid_[i] * chunk_[i];
    chunk /= grid_[i];
  }
  return offset;
}

void Hdf5Chunks::fail(const std::vector<int64_t>& offset) const {
  throw DataError(fmt::format("{}: the chunk at {} cannot be read: it is corrupt", location_, offset), "copy or write the file again");
}

std::vector<std::byte> Hdf5Chunks::decode(int64_t chunk) const {
  const auto offset = offset_of(chunk);
  if (by_hdf5_) return read_by_hdf5(offset);
  const std::vector<hsize_t> place(offset.begin(), offset.end());
  std::vector<std::byte> stored;
  uint32_t skipped = 0;
  {
    const Hdf5Section section;
    hsize_t bytes = 0;
    const bool has_storage = H5Dget_chunk_storage_size(set_, place.data(), &bytes) >= 0 && bytes > 0;
    if (has_storage) {
      if (bytes > file_bytes_) fail(offset);
      stored.resize(bytes);
      if (H5Dread_chunk(set_, H5P_DEFAULT, place.data(), &skipped, stored.data()) < 0) fail(offset);
    }
  }
  if (stored.empty()) return read_by_hdf5(offset);
  auto elements = undo_filters(std::move(stored), filters_, skipped, chunk_bytes_);
  if (elements.empty()) fail(offset);
  if (swapped_) swap_bytes(elements, element_bytes_);
  return elements;
}

std::vector<std::byte> Hdf5Chunks::read_by_hdf5(const std::vector<int64_t>& offset) const {
  std::vector<hsize_t> begin(offset.begin(), offset.end()), whole(chunk_.begin(), chunk_.end()), count, zero(offset.size());
  for (size_t i = 0; i < offset.size(); ++i) count.push_back(static_cast<hsize_t>(std::min(chunk_[i], shape_[i] - offset[i])));
  std::vector<std::byte> elements(chunk_bytes_);
  const Hdf5Section section;
  const Hdf5Handle in_file(H5Dget_space(set_), H5Sclose),
      in_memory(H5Screate_simple(static_cast<int>(whole.size()), whole.data(), nullptr), H5Sclose);
  H5Sselect_hyperslab(in_file, H5S_SELECT_SET, begin.data(), nullptr, count.data(), nullptr);
  H5Sselect_hyperslab(in_memory, H5S_SELECT_SET, zero.data(), nullptr, count.data(), nullptr);
  if (H5Dread(set_, memory_type_, in_memory, in_file, H5P_DEFAULT, elements.data()) < 0) fail(offset);
  return elements;
}

void Hdf5Chunks::read(std::span<const RowRequest> requests, std::byte* out) const {
  std::vector<RowRequest> sorted(requests.begin(), requests.end());
  std::sort(sorted.begin(), sorted.end(), [](const RowRequest& a, const RowRequest& b) { return a.row < b.row; });
  int64_t columns = 1;
  for (size_t i = 1; i < grid_.size(); ++i) columns *= grid_[i];
  for (size_t begin = 0; begin < sorted.size();) {
    const int64_t block = sorted[begin].row / chunk_[0];
    size_t end = begin;
    while (end < sorted.size() && sorted[end].row / chunk_[0] == block) ++end;
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t chunk = block * columns + column;
      const auto offset = offset_of(chunk);
      const auto elements = cache_->find_or({this, chunk}, [&] { return decode(chunk); });
      for (size_t i = begin; i < end; ++i)
        copy_row(elements->data(), sorted[i].row % chunk_[0], offset, out + static_cast<size_t>(sorted[i].position) * row_bytes_);
    }
    begin = end;
  }
}

// The part of a row that is in the chunk: runs of the last dimension, one for each place in the dimensions between.
void Hdf5Chunks::copy_row(const std::byte* chunk, int64_t row, const std::vector<int64_t>& offset, std::byte* out) const {
  const size_t dims = shape_.size();
  const std::byte* const from = chunk + static_cast<size_t>(row) * product(std::span(chunk_).subspan(1), element_bytes_);
  if (dims == 1 || std::equal(shape_.begin() + 1, shape_.end(), chunk_.begin() + 1)) {
    std::memcpy(out, from, row_bytes_);
    return;
  }
  std::vector<int64_t> count(dims), place(dims, 0);
  for (size_t i = 1; i < dims; ++i) count[i] = std::min(chunk_[i], shape_[i] - offset[i]);
  const size_t run = static_cast<size_t>(count[dims - 1]) * element_bytes_;
  while (true) {
    size_t source = 0, target = 0;
    for (size_t i = 1; i < dims; ++i) {
      source = source * static_cast<size_t>(chunk_[i]) + static_cast<size_t>(place[i]);
      target = target * static_cast<size_t>(shape_[i]) + static_cast<size_t>(offset[i] + place[i]);
    }
    std::memcpy(out + target * element_bytes_, from + source * element_bytes_, run);
    size_t dim = dims - 1;
    do {
      if (--dim == 0) return;
      place[dim] = (place[dim] + 1) % count[dim];
    } while (place[dim] == 0);
  }
}

std::vector<std::string> Hdf5Chunks::texts() const {
  if (variable_text_) return variable_texts();
  std::vector<std::string> texts;
  std::vector<std::byte> block(static_cast<size_t>(chunk_[0]) * row_bytes_);
  std::vector<RowRequest> rows;
  for (int64_t begin = 0; begin < shape_[0]; begin += chunk_[0]) {
    rows.clear();
    for (int64_t row = begin; row < std::min(begin + chunk_[0], shape_[0]); ++row) rows.push_back({row, row - begin});
    read(rows, block.data());
    for (size_t i = 0; i < rows.size(); ++i)
      texts.push_back(without_padding(reinterpret_cast<const char*>(block.data()) + i * row_bytes_, row_bytes_, space_padded_));
  }
  return texts;
}

std::vector<std::string> Hdf5Chunks::variable_texts() const {
  constexpr int64_t rows_at_once = 1 << 14;
  std::vector<std::string> texts;
  std::vector<char*> pointers;
  for (int64_t begin = 0; begin < shape_[0]; begin += rows_at_once) {
    std::vector<hsize_t> start(shape_.size(), 0), count(shape_.size(), 1);
    start[0] = static_cast<hsize_t>(begin), count[0] = static_cast<hsize_t>(std::min(rows_at_once, shape_[0] - begin));
    pointers.assign(count[0], nullptr);
    const Hdf5Section section;
    const Hdf5Handle in_file(H5Dget_space(set_), H5Sclose), in_memory(H5Screate_simple(1, count.data(), nullptr), H5Sclose);
    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    if (H5Dread(set_, memory_type_, in_memory, in_file, H5P_DEFAULT, pointers.data()) < 0) fail({begin});
    for (const char* text : pointers) texts.emplace_back(text ? text : "");
    H5Dvlen_reclaim(memory_type_, in_memory, H5P_DEFAULT, pointers.data());
  }
  return texts;
}

}  // namespace levin::detail
