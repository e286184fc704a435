#include "zip_writer.h"

#include <algorithm>
#include <boost/crc.hpp>

#include "../../src/exported/zip_file.h"

namespace levin::test {
namespace zip_parts {

template <class Integer>
void put(std::string& text, uint64_t number) {
  const auto value = static_cast<Integer>(number);
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}
constexpr uint32_t in_wide_field = UINT32_MAX;

std::string wide_field(const std::vector<uint64_t>& numbers) {
  std::string text;
  put<uint16_t>(text, 1), put<uint16_t>(text, numbers.size() * 8);
  for (const auto number : numbers) put<uint64_t>(text, number);
  return text;
}

uint32_t checksum_of(const std::string& bytes) {
  boost::crc_32_type checksum;
  checksum.process_bytes(bytes.data(), bytes.size());
  return checksum.checksum();
}

void put_header(std::string& text, const ZipEntry& entry) {
  const auto& name = entry.header_name.value_or(entry.name);
  const auto size = entry.header_size.value_or(entry.bytes.size());
  const auto extra = (entry.wide ? wide_field({size, size}) : "") + entry.header_extra;
  put<uint32_t>(text, 0x04034b50), put<uint16_t>(text, 45), put<uint16_t>(text, entry.header_flags.value_or(entry.flags));
  put<uint16_t>(text, entry.header_method.value_or(entry.method)), put<uint32_t>(text, 0);
  put<uint32_t>(text, entry.header_checksum.value_or(checksum_of(entry.bytes)));
  put<uint32_t>(text, entry.wide ? in_wide_field : size), put<uint32_t>(text, entry.wide ? in_wide_field : size);
  put<uint16_t>(text, name.size()), put<uint16_t>(text, extra.size());
  text += name + extra + entry.bytes;
}

void put_directory_entry(std::string& text, const ZipEntry& entry, uint64_t at) {
  const auto size = entry.size.value_or(entry.bytes.size()), packed = entry.packed.value_or(size), header = entry.header.value_or(at);
  const auto extra = (entry.wide ? wide_field({size, packed, header}) : "") + entry.extra;
  put<uint32_t>(text, 0x02014b50), put<uint32_t>(text, 45), put<uint16_t>(text, entry.flags), put<uint16_t>(text, entry.method);
  put<uint32_t>(text, 0), put<uint32_t>(text, entry.checksum.value_or(checksum_of(entry.bytes)));
  put<uint32_t>(text, entry.wide ? in_wide_field : packed), put<uint32_t>(text, entry.wide ? in_wide_field : size);
  put<uint16_t>(text, entry.name.size()), put<uint16_t>(text, extra.size()), put<uint16_t>(text, 0),
      put<uint16_t>(text, entry.disk.value_or(0));
  put<uint16_t>(text, 0), put<uint32_t>(text, 0), put<uint32_t>(text, entry.wide ? in_wide_field : header);
  text += entry.name + extra;
}

}  // namespace zip_parts

std::string zip_text(const std::vector<ZipEntry>& entries, const ZipEnd& end) {
  using namespace zip_parts;
  std::string text, directory;
  for (const auto& entry : entries) {
    put_directory_entry(directory, entry, text.size());
    if (!entry.only_in_directory) put_header(text, entry);
  }
  const auto begin = end.begin.value_or(text.size()), bytes = end.bytes.value_or(directory.size()),
             count = end.entries.value_or(entries.size());
  text += directory + end.before_end;
  if (end.wide) {
    const auto record = end.record.value_or(text.size());
    put<uint32_t>(text, end.wide_mark.value_or(0x06064b50)), put<uint64_t>(text, 44), put<uint32_t>(text, 0), put<uint32_t>(text, end.disk);
    put<uint32_t>(text, 0), put<uint64_t>(text, count), put<uint64_t>(text, count), put<uint64_t>(text, bytes), put<uint64_t>(text, begin);
    put<uint32_t>(text, 0x07064b50), put<uint32_t>(text, 0), put<uint64_t>(text, record), put<uint32_t>(text, 1);
  }
  put<uint32_t>(text, end.mark.value_or(0x06054b50)), put<uint16_t>(text, end.disk), put<uint16_t>(text, 0);
  put<uint16_t>(text, end.wide ? UINT16_MAX : count), put<uint16_t>(text, end.wide ? UINT16_MAX : count);
  put<uint32_t>(text, end.wide ? in_wide_field : bytes), put<uint32_t>(text, end.wide ? in_wide_field : begin);
  put<uint16_t>(text, end.comment.size());
  return text + end.comment + end.tail;
}

EditedArchive::EditedArchive(const std::filesystem::path& good) {
  const exported::ZipFile file(good);
  for (const auto& [name, found] : file.entries()) {
    ZipEntry entry;
    entry.name = name;
    entry.bytes.resize(found.bytes);
    file.read(found, 0, entry.bytes.data(), found.bytes);
    entries.push_back(std::move(entry));
  }
  folder_ = entries.front().name.substr(0, entries.front().name.find('/') + 1);
}

bool EditedArchive::has(const std::string& record) const {
  return std::any_of(entries.begin(), entries.end(), [&](const ZipEntry& entry) { return entry.name == folder_ + record; });
}

ZipEntry& EditedArchive::operator[](const std::string& record) {
  if (!has(record)) entries.push_back({.name = folder_ + record, .bytes = {}});
  return *std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& entry) { return entry.name == folder_ + record; });
}

void EditedArchive::remove(const std::string& record) {
  std::erase_if(entries, [&](const ZipEntry& entry) { return entry.name == folder_ + record; });
}

}  // namespace levin::test
