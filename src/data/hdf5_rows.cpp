#include "levin/data/hdf5_rows.h"

#include <algorithm>

#include "../core/hdf5_types.h"
#include "hdf5_chunks.h"
#include "hdf5_lookup.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/data/hdf5_array.h"

namespace levin {
namespace {

constexpr size_t default_cache_bytes = size_t{16} << 20;

// What Hdf5Array reads.
bool is_plain(hid_t set) {
  const detail::Hdf5Handle create(H5Dget_create_plist(set), H5Pclose), type(H5Dget_type(set), H5Tclose);
  return create.good() && type.good() && H5Pget_layout(create) == H5D_CONTIGUOUS && H5Pget_nfilters(create) == 0 &&
         detail::dtype_of(type).has_value();
}

}  // namespace

Hdf5Rows::Hdf5Rows(const std::filesystem::path& file, const std::string& name, std::shared_ptr<detail::ChunkCache> cache)
    : location_(file.string() + ": " + quote(name)) {
  std::error_code error;
  const auto real = std::filesystem::canonical(file, error);  // a user's symbolic link to a file is welcome
  const auto bytes = detail::File::open_to_read(error ? file : real, "data");
  const auto refuse = [this](const std::string& why, const std::string& remedy) {
    throw DataError(fmt::format("{} {}", location_, why), remedy);
  };
  auto opened = detail::open_hdf5(bytes);
  if (!opened.good())
    throw DataError(fmt::format("{} is not an HDF5 file, or is corrupt", file.string()),
                    "name an HDF5 file, or copy it again; h5dump -H shows what is in a file");
  const detail::Hdf5Section section;
  auto set = detail::open_data_set(opened, name, refuse);
  if (is_plain(set)) {
    direct_ = std::make_unique<Hdf5Array>(file, name);
    return;
  }
  if (!cache) cache = std::make_shared<detail::ChunkCache>(default_cache_bytes);
  chunks_ = std::make_unique<detail::Hdf5Chunks>(std::move(opened), std::move(set), location_, bytes.size(), std::move(cache), refuse);
}

Hdf5Rows::~Hdf5Rows() = default;

at::ScalarType Hdf5Rows::dtype() const noexcept { return direct_ ? direct_->dtype() : chunks_->dtype(); }
at::IntArrayRef Hdf5Rows::shape() const noexcept { return direct_ ? direct_->shape() : at::IntArrayRef(chunks_->shape()); }
size_t Hdf5Rows::row_bytes() const noexcept { return direct_ ? direct_->row_bytes() : chunks_->row_bytes(); }
bool Hdf5Rows::is_text() const noexcept { return chunks_ && chunks_->is_text(); }

std::vector<std::string> Hdf5Rows::texts() const {
  if (!is_text()) throw UsageError("data", fmt::format("{} holds no texts", location_));
  return chunks_->texts();
}

void Hdf5Rows::read(std::span<const RowRequest> requests, void* out) const {
  if (is_text()) throw UsageError("data", fmt::format("{} holds texts", location_), "read them by texts()");
  for (const auto& [row, position] : requests)
    if (row < 0 || row >= rows()) throw UsageError("data", fmt::format("row {} of {}, which has {}", row, location_, rows()));
  if (requests.empty() || row_bytes() == 0) return;
  auto* const bytes = static_cast<std::byte*>(out);
  if (chunks_) return chunks_->read(requests, bytes);
  for (size_t begin = 0; begin < requests.size();) {  // neighbours in one read
    size_t end = begin + 1;
    while (end < requests.size() && requests[end].row == requests[end - 1].row + 1 &&
           requests[end].position == requests[end - 1].position + 1)
      ++end;
    direct_->read(requests[begin].row, static_cast<int64_t>(end - begin),
                  bytes + static_cast<size_t>(requests[begin].position) * row_bytes());
    begin = end;
  }
}

}  // namespace levin
