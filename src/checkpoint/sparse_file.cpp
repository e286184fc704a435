#include "sparse_file.h"

#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>  // since HDF5 1.14
#endif

#include <algorithm>
#include <cstring>
#include <new>

namespace levin::detail {
namespace {

/// HDF5's view of it: its own members first.
struct OpenFile {
  H5FD_t base{};
  SparseFile* memory = nullptr;
  haddr_t allocated = 0;
};

/// What the property list hands to open.
struct Info {
  SparseFile* memory;
};

OpenFile* of(H5FD_t* file) { return reinterpret_cast<OpenFile*>(file); }
const OpenFile* of(const H5FD_t* file) { return reinterpret_cast<const OpenFile*>(file); }

H5FD_t* open(const char*, unsigned, hid_t access, haddr_t) {
  const auto* info = static_cast<const Info*>(H5Pget_driver_info(access));
  auto* file = info ? new (std::nothrow) OpenFile : nullptr;
  if (!file) return nullptr;
  file->memory = info->memory;
  return &file->base;
}

herr_t close(H5FD_t* file) {
  of(file)->memory->set_bytes(of(file)->allocated);
  delete of(file);
  return 0;
}

herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes, const void* data) try {
  of(file)->memory->write(offset, static_cast<const char*>(data), bytes);
  return 0;
} catch (const std::bad_alloc&) {
  return -1;
}

herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes, void* data) {
  of(file)->memory->read(offset, static_cast<char*>(data), bytes);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) { return of(a)->memory < of(b)->memory ? -1 : of(a)->memory > of(b)->memory ? 1 : 0; }

herr_t features(const H5FD_t*, unsigned long* flags) {
  // As the drivers of real files, so that places come out the same.
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

H5FD_class_t make_driver() {
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 14, 0)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(500);  // the library keeps those from 512 on for registered drivers, and to 255 its own
#endif
  driver.name = "levin_sparse_memory";
  driver.maxaddr = HADDR_MAX;
  driver.fc_degree = H5F_CLOSE_STRONG;
  driver.fapl_size = sizeof(Info);
  driver.open = open;
  driver.close = close;
  driver.cmp = compare;
  driver.query = features;
  driver.get_eoa = [](const H5FD_t* file, H5FD_mem_t) { return of(file)->allocated; };
  driver.set_eoa = [](H5FD_t* file, H5FD_mem_t, haddr_t end) -> herr_t {
    of(file)->allocated = end;
    return 0;
  };
  driver.get_eof = [](const H5FD_t* file, H5FD_mem_t) { return of(file)->allocated; };
  driver.read = read;
  driver.write = write;
  constexpr H5FD_mem_t kinds[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kinds), std::end(kinds), driver.fl_map);
  return driver;
}

}  // namespace

void SparseFile::use_for(hid_t access) {
  // Registered once, as HDF5's own drivers are: H5Fclose would use the driver after its last user had let it go. Guarded by HDF5's lock.
  static const H5FD_class_t driver = make_driver();
  static hid_t id = -1;
  if (H5Iget_type(id) != H5I_VFL) id = H5FDregister(&driver);
  const Info info{this};
  H5Pset_driver(access, id, &info);
}

void SparseFile::write(uint64_t offset, const char* data, size_t bytes) {
  while (bytes > 0) {
    const uint64_t begin = offset % page_bytes;
    const size_t now = std::min(bytes, static_cast<size_t>(page_bytes - begin));
    auto& page = pages_.try_emplace(offset - begin, page_bytes, '\0').first->second;
    std::memcpy(page.data() + begin, data, now);
    offset += now, data += now, bytes -= now;
  }
}

void SparseFile::read(uint64_t offset, char* data, size_t bytes) const {
  while (bytes > 0) {
    const uint64_t begin = offset % page_bytes;
    const size_t now = std::min(bytes, static_cast<size_t>(page_bytes - begin));
    if (const auto page = pages_.find(offset - begin); page != pages_.end())
      std::memcpy(data, page->second.data() + begin, now);
    else
      std::memset(data, 0, now);
    offset += now, data += now, bytes -= now;
  }
}

}  // namespace levin::detail
