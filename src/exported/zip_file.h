#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../core/file.h"

namespace levin::exported {

/// A zip file whose entries are stored without compression, as PyTorch writes it; 32 and 64 bits. The constructor trusts nothing: places
/// and sizes lie within the file, entries do not overlap, names are relative and unique, the directory agrees with each entry's header.
/// Errors: DataError for a damaged file, ConfigError for a zip file of another kind.
class ZipFile {
 public:
  struct Entry {
    std::string name;
    uint64_t header = 0, begin = 0, bytes = 0;  ///< places in the file: of the entry's header, and of its bytes
    uint32_t checksum = 0;                      ///< CRC-32
    uint16_t flags = 0;
  };

  explicit ZipFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  uint64_t bytes() const noexcept { return size_; }
  const std::map<std::string, Entry>& entries() const noexcept { return entries_; }
  /// Reads [begin, begin + bytes) of an entry. DataError if the entry is shorter.
  void read(const Entry& entry, uint64_t begin, void* memory, uint64_t bytes) const;
  /// DataError unless an entry's bytes have its checksum. Without `memory` it reads them.
  void check(const Entry& entry, const void* memory = nullptr) const;

 private:
  struct Directory {
    uint64_t begin = 0, bytes = 0, entries = 0;
  };
  Directory find_directory() const;
  Directory find_directory64(uint64_t end, const Directory& small) const;
  void read_directory(const Directory& directory);
  void check_header(Entry& entry, uint64_t end) const;
  void check_overlap() const;
  void check_name(const std::string& name) const;
  [[noreturn]] void refuse(const std::string& why) const;

  detail::File file_;
  uint64_t size_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace levin::exported
