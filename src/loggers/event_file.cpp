#include "event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <boost/crc.hpp>
#include <cerrno>
#include <cstring>
#include <string>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw IoError(fmt::format("cannot write {}: {}", path.string(), reason),
                "give a --run_dir, or the logger a save_dir, that can be written", "loggers");
}

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

EventFile::EventFile(const std::filesystem::path& folder, Seconds flush_interval)
    : flush_interval_(flush_interval.value), flushed_(std::chrono::steady_clock::now()) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) refuse(folder, error.message());
  path_ = new_name(folder);
  file_.reset(std::fopen(path_.c_str(), "wx"));
  if (!file_) refuse(path_, std::strerror(errno));
}

void EventFile::write(std::string_view record) {
  const std::string length = little_endian(static_cast<uint64_t>(record.size()));
  std::string bytes = length + little_endian(masked_crc(length));
  bytes.append(record).append(little_endian(masked_crc(record)));
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) refuse(path_, std::strerror(errno));
  if (std::chrono::steady_clock::now() - flushed_ > flush_interval_) flush();
}

void EventFile::flush() {
  if (std::fflush(file_.get()) != 0) refuse(path_, std::strerror(errno));
  flushed_ = std::chrono::steady_clock::now();
}

}  // namespace levin::detail
