#pragma once
// Writes zip files that lie where a test wants them to.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::test {

struct ZipEntry {
  std::string name = {}, bytes = {};
  // What the directory and the entry's own header say; by default the truth.
  std::optional<std::string> header_name = {};
  uint16_t method = 0, flags = 0;
  std::optional<uint16_t> header_method = {}, header_flags = {};
  std::optional<uint32_t> checksum = {}, header_checksum = {};
  std::optional<uint64_t> size = {}, packed = {}, header_size = {}, header = {}, disk = {};
  std::string extra = {}, header_extra = {};
  bool wide = false;               ///< sizes and place in 64 bits
  bool only_in_directory = false;  ///< another entry's bytes have the header
};

struct ZipEnd {
  bool wide = false;  ///< with the 64-bit record
  std::optional<uint64_t> entries = {}, bytes = {}, begin = {}, record = {};
  std::optional<uint32_t> mark = {}, wide_mark = {};
  uint16_t disk = 0;
  std::string comment = {}, tail = {};
  std::string before_end = {};  ///< between the directory and what ends the file
};

std::string zip_text(const std::vector<ZipEntry>& entries, const ZipEnd& end = {});

/// The entries of an archive, to be changed and written again.
class EditedArchive {
 public:
  explicit EditedArchive(const std::filesystem::path& good);
  /// The entry of this name below the archive's folder; a new one where there is none.
  ZipEntry& operator[](const std::string& record);
  bool has(const std::string& record) const;
  void remove(const std::string& record);
  const std::string& folder() const { return folder_; }
  std::string text(const ZipEnd& end = {}) const { return zip_text(entries, end); }

  std::vector<ZipEntry> entries;

 private:
  std::string folder_;
};

}  // namespace levin::test
