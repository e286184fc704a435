#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace levin::detail {

/// The bytes of a regular file, decompressed where it is gzip.
class ByteSource {
 public:
  /// IoError when the file cannot be opened.
  static std::unique_ptr<ByteSource> open(const std::filesystem::path& path);
  /// Whether it is gzip. IoError.
  static bool is_compressed(const std::filesystem::path& path);
  virtual ~ByteSource() = default;

  /// Reads into all of `out`, or as much as there is; returns the number of bytes. IoError, or DataError for damaged compression.
  virtual size_t read(std::span<std::byte> out) = 0;
  /// No more bytes than this can come: the file's size, or what it can decompress to.
  virtual uint64_t most_bytes() const = 0;
};

}  // namespace levin::detail
