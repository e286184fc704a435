#include "event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/crc.hpp>
#include <charconv>
#include <chrono>
#include <string>

#include "../core/host_name.h"

namespace levin::detail {
namespace {

// CRC-32C, then turned and shifted, so that a checksum of data with checksums in them is as good.
uint32_t masked_crc(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const uint32_t sum = crc.checksum();
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
}

template <class Number>
std::string little_endian(Number number) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Number); i++) bytes += static_cast<char>((number >> (8 * i)) & 0xff);
  return bytes;
}

constexpr std::string_view beginning = "events.out.tfevents.";

// TensorBoard reads files in the order of their names, so a new file's time is later than those of the files before it.
int64_t time_of_name(const std::filesystem::path& folder) {
  int64_t time = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::error_code unseen;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unseen)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(beginning)) continue;
    int64_t other = 0;
    std::from_chars(name.data() + beginning.size(), name.data() + name.size(), other);
    if (other < int64_t{9'999'999'999}) time = std::max(time, other + 1);
  }
  return time;
}

std::filesystem::path new_name(const std::filesystem::path& folder) {
  const auto now = time_of_name(folder);
  std::error_code unseen;  // opening the file gives the better error
  for (int number = 0;; number++) {
    auto path = folder / fmt::format("{}{:010}.{}.{}.{}", beginning, now, detail::host_name(), getpid(), number);
    if (!std::filesystem::exists(path, unseen)) return path;
  }
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, Seconds flush_interval)
    : file_(new_name(folder), LogFile::Mode::create_new, flush_interval) {}

void EventFile::write(std::string_view record) {
  const std::string length = little_endian(static_cast<uint64_t>(record.size()));
  std::string bytes = length + little_endian(masked_crc(length));
  bytes.append(record).append(little_endian(masked_crc(record)));
  file_.write(bytes);
}

}  // namespace levin::detail
