#include "zip_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>

#include "json_tree.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::exported {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers of zip files are little-endian");

// Layouts are those of APPNOTE.TXT 6.3, section 4.3.
constexpr uint32_t header_mark = 0x04034b50, directory_mark = 0x02014b50, end_mark = 0x06054b50, end64_mark = 0x06064b50,
                   locator_mark = 0x07064b50;
constexpr uint64_t header_bytes = 30, directory_entry_bytes = 46, end_bytes = 22, end64_bytes = 56, locator_bytes = 20;
constexpr uint16_t has_descriptor = 1 << 3, utf8_name = 1 << 11;
constexpr uint16_t small_full = UINT16_MAX;  // the number is in the 64-bit record
constexpr uint32_t full = UINT32_MAX;
constexpr uint64_t most_directory_bytes = 256 << 20;

/// Numbers of a record in memory, one after the other.
class Numbers {
 public:
  Numbers(const char* data, size_t bytes) : data_(data), bytes_(bytes) {}
  template <class Integer>
  Integer next() {
    Integer value{};
    if (sizeof value > bytes_) return bytes_ = 0, value;  // callers compare sizes first
    std::memcpy(&value, data_, sizeof value);
    data_ += sizeof value, bytes_ -= sizeof value;
    return value;
  }
  uint16_t u16() { return next<uint16_t>(); }
  uint32_t u32() { return next<uint32_t>(); }
  uint64_t u64() { return next<uint64_t>(); }

 private:
  const char* data_;
  size_t bytes_;
};

/// The extra field of 64-bit sizes, or nothing; `broken` where fields do not fit.
struct Extra {
  std::optional<std::string_view> wide;
  bool broken = false;
  explicit Extra(std::string_view text) {
    constexpr uint16_t wide_field = 1;
    while (!text.empty() && !broken) {
      Numbers numbers(text.data(), text.size());
      const uint16_t kind = numbers.u16(), bytes = numbers.u16();
      broken = text.size() < 4 || bytes > text.size() - 4 || (kind == wide_field && wide);
      if (broken) return;
      if (kind == wide_field) wide = text.substr(4, bytes);
      text.remove_prefix(4 + size_t{bytes});
    }
  }
};

constexpr auto write_again = "write the archive with torch.export.save or levin.export";

}  // namespace

ZipFile::ZipFile(const std::filesystem::path& path) : file_(detail::File::open_to_read(path, "exported")), size_(file_.size()) {
  read_directory(find_directory());
  check_overlap();
}

void ZipFile::refuse(const std::string& why) const {
  throw DataError(fmt::format("{}: {}", path().string(), why), export_again, "exported");
}

ZipFile::Directory ZipFile::find_directory() const {
  if (size_ < end_bytes) refuse(fmt::format("{} bytes are too few for a zip file", size_));
  std::array<char, end_bytes> data{};
  file_.read_at(data.data(), data.size(), size_ - end_bytes);
  Numbers numbers(data.data(), data.size());
  if (numbers.u32() != end_mark) {
    std::array<char, 4> first{};
    file_.read_at(first.data(), first.size(), 0);
    if (Numbers(first.data(), first.size()).u32() == header_mark) refuse("a zip file without its end: it is truncated, or bytes follow it");
    throw DataError(fmt::format("{}: no zip file", path().string()), write_again, "exported");
  }
  const auto disk = numbers.u16(), first_disk = numbers.u16(), entries_here = numbers.u16(), entries = numbers.u16();
  const auto bytes = numbers.u32(), begin = numbers.u32();
  if (const auto comment = numbers.u16(); comment != 0) refuse(fmt::format("a comment of {} bytes is missing", comment));
  const Directory small{begin, bytes, entries};
  if (size_ >= end_bytes + locator_bytes) {
    uint32_t mark = 0;
    file_.read_at(&mark, sizeof mark, size_ - end_bytes - locator_bytes);
    if (mark == locator_mark) return find_directory64(size_ - end_bytes, small);
  }
  if (disk != 0 || first_disk != 0 || entries_here != entries) refuse("a part of a zip file in several parts");
  if (small.begin + small.bytes != size_ - end_bytes)
    refuse(fmt::format("the directory is at bytes [{}, {}), not before the end at {}", small.begin, small.begin + small.bytes,
                       size_ - end_bytes));
  return small;
}

// The 64-bit record and its locator stand between the directory and the end. Where both have a number, they must agree.
ZipFile::Directory ZipFile::find_directory64(uint64_t end, const Directory& small) const {
  std::array<char, locator_bytes> locator{};
  file_.read_at(locator.data(), locator.size(), end - locator_bytes);
  Numbers place(locator.data(), locator.size());
  place.u32();
  const auto disk = place.u32();
  const auto record = place.u64();
  const auto disks = place.u32();
  if (disk != 0 || disks > 1) refuse("a part of a zip file in several parts");
  if (end < locator_bytes + end64_bytes || record != end - locator_bytes - end64_bytes)
    refuse(fmt::format("the 64-bit record at {} is not before its locator at {}", record, end - locator_bytes));
  std::array<char, end64_bytes> data{};
  file_.read_at(data.data(), data.size(), record);
  Numbers numbers(data.data(), data.size());
  const auto mark = numbers.u32();
  const auto bytes_after = numbers.u64();
  if (mark != end64_mark || bytes_after != end64_bytes - 12) refuse(fmt::format("no 64-bit record at {}", record));
  numbers.u32();  // versions
  const auto this_disk = numbers.u32(), first_disk = numbers.u32();
  const auto entries_here = numbers.u64();
  Directory found;
  found.entries = numbers.u64(), found.bytes = numbers.u64(), found.begin = numbers.u64();
  if (this_disk != 0 || first_disk != 0 || entries_here != found.entries) refuse("a part of a zip file in several parts");
  if ((small.entries != small_full && small.entries != found.entries) || (small.bytes != full && small.bytes != found.bytes) ||
      (small.begin != full && small.begin != found.begin))
    refuse("the 64-bit record and the 32-bit record of the directory differ");
  if (found.begin > record || found.bytes != record - found.begin)
    refuse(fmt::format("the directory of {} bytes at {} does not end at the 64-bit record at {}", found.bytes, found.begin, record));
  return found;
}

void ZipFile::read_directory(const Directory& directory) {
  if (directory.bytes > most_directory_bytes || directory.entries > directory.bytes / directory_entry_bytes)
    refuse(fmt::format("a directory of {} bytes for {} entries", directory.bytes, directory.entries));
  std::string text(directory.bytes, '\0');
  file_.read_at(text.data(), text.size(), directory.begin);
  std::string_view rest(text);
  for (uint64_t i = 0; i < directory.entries; i++) {
    Numbers numbers(rest.data(), rest.size());
    if (rest.size() < directory_entry_bytes || numbers.u32() != directory_mark)
      refuse(fmt::format("entry {} of the directory is damaged", i));
    numbers.u32();  // versions
    Entry entry;
    entry.flags = numbers.u16();
    const auto method = numbers.u16();
    numbers.u32();  // time
    entry.checksum = numbers.u32();
    uint64_t packed = numbers.u32();
    entry.bytes = numbers.u32();
    const size_t name_bytes = numbers.u16(), extra_bytes = numbers.u16(), comment_bytes = numbers.u16();
    const auto disk = numbers.u16();
    numbers.u16(), numbers.u32();  // attributes
    entry.header = numbers.u32();
    rest.remove_prefix(directory_entry_bytes);
    if (name_bytes + extra_bytes + comment_bytes > rest.size()) refuse(fmt::format("entry {} of the directory does not fit in it", i));
    entry.name = rest.substr(0, name_bytes);
    const Extra extra(rest.substr(name_bytes, extra_bytes));
    rest.remove_prefix(name_bytes + extra_bytes + comment_bytes);
    check_name(entry.name);
    Numbers wide(extra.wide ? extra.wide->data() : nullptr, extra.wide ? extra.wide->size() : 0);
    const auto in_wide = [](uint64_t number) { return number == full ? sizeof(uint64_t) : 0; };
    const auto needed = in_wide(entry.bytes) + in_wide(packed) + in_wide(entry.header);
    if (extra.broken || (extra.wide ? extra.wide->size() : 0) < needed)
      refuse(fmt::format("{} has a damaged extra field", quote(entry.name)));
    if (entry.bytes == full) entry.bytes = wide.u64();
    if (packed == full) packed = wide.u64();
    if (entry.header == full) entry.header = wide.u64();
    if (method != 0 || (entry.flags & ~(has_descriptor | utf8_name)) != 0)
      throw ConfigError(fmt::format("{}: {} is compressed or encrypted (method {}, flags {:#x}); entries must be stored as they are",
                                    path().string(), quote(entry.name), method, entry.flags),
                        write_again, "exported");
    if (packed != entry.bytes)
      refuse(fmt::format("{} has {} bytes in the file, {} unpacked, without compression", quote(entry.name), packed, entry.bytes));
    if (disk != 0) refuse(fmt::format("{} is in part {} of several", quote(entry.name), disk));
    check_header(entry, directory.begin);
    const auto name = entry.name;
    if (!entries_.emplace(name, std::move(entry)).second) refuse(fmt::format("{} is there twice", quote(name)));
  }
  if (!rest.empty()) refuse(fmt::format("the directory has {} bytes after its last entry", rest.size()));
}

void ZipFile::check_name(const std::string& name) const {
  constexpr size_t longest = 1000;
  const auto bad = [&](const char* why) { refuse(fmt::format("an entry is named {}, which {}", quote(name), why)); };
  if (name.empty() || name.size() > longest) bad("is empty or too long");
  if (first_bad_byte(name) != std::string::npos || name.find_first_of("\\:\n\r\t") != std::string::npos) bad("is not a portable name");
  for (size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find('/', begin), name.size());
    const auto part = std::string_view(name).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") bad("is not a path inside the archive");
    begin = end + 1;
  }
}

void ZipFile::check_header(Entry& entry, uint64_t end) const {
  const auto damaged = [&](const char* why) { refuse(fmt::format("{}: its header at {} {}", quote(entry.name), entry.header, why)); };
  if (entry.header > end || end - entry.header < header_bytes + entry.name.size()) damaged("is outside of the file");
  std::string text(header_bytes + entry.name.size(), '\0');
  file_.read_at(text.data(), text.size(), entry.header);
  Numbers numbers(text.data(), text.size());
  if (numbers.u32() != header_mark) damaged("is not one");
  numbers.u16();  // version
  const auto flags = numbers.u16(), method = numbers.u16();
  numbers.u32();  // time
  const auto checksum = numbers.u32(), packed = numbers.u32(), bytes = numbers.u32();
  const uint64_t name_bytes = numbers.u16(), extra_bytes = numbers.u16();
  if (name_bytes != entry.name.size() || std::string_view(text).substr(header_bytes) != entry.name) damaged("has another name");
  if (flags != entry.flags || method != 0) damaged("has other flags or another method");
  entry.begin = entry.header + header_bytes + name_bytes + extra_bytes;
  if (entry.begin > end || entry.bytes > end - entry.begin)
    refuse(fmt::format("{} has {} bytes at {}, but the entries end at {}", quote(entry.name), entry.bytes, entry.begin, end));
  uint64_t wide_packed = packed, wide_bytes = bytes;
  if (packed == full || bytes == full) {
    std::string extra_text(extra_bytes, '\0');
    file_.read_at(extra_text.data(), extra_text.size(), entry.header + header_bytes + name_bytes);
    const Extra extra(extra_text);
    const size_t needed = (bytes == full ? 8 : 0) + (packed == full ? 8 : 0);
    if (extra.broken || !extra.wide || extra.wide->size() < needed) damaged("has a damaged extra field");
    Numbers wide(extra.wide->data(), extra.wide->size());
    if (bytes == full) wide_bytes = wide.u64();
    if (packed == full) wide_packed = wide.u64();
  }
  // With a descriptor after the bytes, writers leave zeros here.
  const bool later = (flags & has_descriptor) != 0;
  const auto agrees = [&](uint64_t here, uint64_t there) { return here == there || (later && here == 0); };
  if (!agrees(checksum, entry.checksum) || !agrees(wide_packed, entry.bytes) || !agrees(wide_bytes, entry.bytes))
    damaged("has another size or checksum than the directory");
}

void ZipFile::check_overlap() const {
  std::vector<const Entry*> sorted;
  for (const auto& [name, entry] : entries_) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return a->header < b->header; });
  for (size_t i = 1; i < sorted.size(); i++)
    if (sorted[i]->header < sorted[i - 1]->begin + sorted[i - 1]->bytes)
      refuse(fmt::format("{} and {} overlap", quote(sorted[i - 1]->name), quote(sorted[i]->name)));
}

void ZipFile::read(const Entry& entry, uint64_t begin, void* memory, uint64_t bytes) const {
  if (begin > entry.bytes || bytes > entry.bytes - begin)
    refuse(fmt::format("{} has {} bytes, [{}, {}) were wanted", quote(entry.name), entry.bytes, begin, begin + bytes));
  file_.read_at(memory, bytes, entry.begin + begin);
}

void ZipFile::check(const Entry& entry, const void* memory) const {
  constexpr uint64_t piece = 4 << 20;  // zlib takes 32 bits
  auto checksum = crc32_z(0, nullptr, 0);
  std::vector<Bytef> buffer(memory ? 0 : std::min(piece, entry.bytes));
  for (uint64_t begin = 0; begin < entry.bytes; begin += piece) {
    const auto bytes = std::min(piece, entry.bytes - begin);
    if (!memory) read(entry, begin, buffer.data(), bytes);
    checksum = crc32_z(checksum, memory ? static_cast<const Bytef*>(memory) + begin : buffer.data(), bytes);
  }
  if (checksum != entry.checksum)
    refuse(fmt::format("{} is damaged: its checksum is {:08x}, expected {:08x}", quote(entry.name), checksum, entry.checksum));
}

}  // namespace levin::exported
