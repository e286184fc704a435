#include "sparse_file.h"

#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>  // since HDF5 1.14
#endif

#include <algorithm>
#include <cstring>
#include <new>

namespace levin::detail {
namespace {

namespace driver_calls {  // open, read and the like are also names of the system's

/// An open SparseFile as a file of the driver; HDF5 requires H5FD_t as the first member.
struct OpenFile {
  H5FD_t base{};
  SparseFile* memory = nullptr;
  haddr_t allocated = 0;
};

/// Driver info that the property list passes to open.
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
  // The features of HDF5's file drivers, so that allocation behaves the same.
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

H5FD_class_t make_driver() {
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 14, 0)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(500);  // 256 to 511 are for testing; HDF5 uses those below and assigns those above
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

}  // namespace driver_calls
}  // namespace

void SparseFile::use_for(hid_t access) {
  // Registered once and never unregistered: H5Fclose would use the driver after the last property list has released it. Guarded by the
  // Hdf5Section of the caller.
  static const H5FD_class_t driver = driver_calls::make_driver();
  static hid_t id = -1;
  if (H5Iget_type(id) != H5I_VFL) id = H5FDregister(&driver);
  const driver_calls::Info info{this};
  H5Pset_driver(access, id, &info);
}

void SparseFile::write(uint64_t offset, const char* data, size_t bytes) {
  while (bytes > 0) {
    const uint64_t begin = offset % page_bytes;
    const size_t count = std::min(bytes, static_cast<size_t>(page_bytes - begin));
    auto& page = pages_.try_emplace(offset - begin, page_bytes, '\0').first->second;
    std::memcpy(page.data() + begin, data, count);
    offset += count, data += count, bytes -= count;
  }
}

void SparseFile::read(uint64_t offset, char* data, size_t bytes) const {
  while (bytes > 0) {
    const uint64_t begin = offset % page_bytes;
    const size_t count = std::min(bytes, static_cast<size_t>(page_bytes - begin));
    if (const auto page = pages_.find(offset - begin); page != pages_.end())
      std::memcpy(data, page->second.data() + begin, count);
    else
      std::memset(data, 0, count);
    offset += count, data += count, bytes -= count;
  }
}

}  // namespace levin::detail
