#include "event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <boost/crc.hpp>
#include <chrono>
#include <string>

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

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

// The last number tells apart what one process begins in one second.
std::filesystem::path new_name(const std::filesystem::path& folder) {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::error_code unseen;  // opening the file says it better
  for (int number = 0;; number++) {
    auto path = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", now, host_name(), getpid(), number);
    if (!std::filesystem::exists(path, unseen)) return path;
  }
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, Seconds flush_interval) : file_(new_name(folder), "wx", flush_interval) {}

void EventFile::write(std::string_view record) {
  const std::string length = little_endian(static_cast<uint64_t>(record.size()));
  std::string bytes = length + little_endian(masked_crc(length));
  bytes.append(record).append(little_endian(masked_crc(record)));
  file_.write(bytes);
}

}  // namespace levin::detail
