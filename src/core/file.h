#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

namespace levin::detail {

/// The kind of access, for the remedy in errors.
enum class Access { read, write };

/// A regular file. Nothing here follows a symbolic link. System errors are IoErrors that name the file, including writes beyond the
/// file size limit (without SIGXFSZ). `tag` begins the error messages.
class File {
 public:
  File() = default;
  /// A new file, to be read and written. Its mode follows the umask, and the world may not write to it.
  static File create(const std::filesystem::path& path, const char* tag = "checkpoint");
  static File open_to_write(const std::filesystem::path& path, const char* tag = "checkpoint");
  /// DataError if `path` is not a regular file.
  static File open_to_read(const std::filesystem::path& path, const char* tag = "checkpoint");
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  int descriptor() const noexcept { return descriptor_; }
  uint64_t size() const;
  void resize(uint64_t bytes);
  void write_at(const void* data, size_t bytes, uint64_t offset);
  /// DataError where the file ends before that.
  void read_at(void* data, size_t bytes, uint64_t offset) const;
  void sync();
  /// Closes; some file systems say only now that they are full.
  void close();

 private:
  File(std::filesystem::path path, int flags, const char* tag);
  [[noreturn]] void fail(const char* call, int error) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  const char* tag_ = "checkpoint";
  Access access_ = Access::write;
};

/// The paths of a directory's entries, in no order. On an error what was read before it; nothing is thrown.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& directory, std::error_code& error);
/// Flushes a directory's entries to disk. IoError where that fails.
void sync_directory(const std::filesystem::path& directory);
/// Writes a file under another name, which goes when that fails, and renames it.
void replace_file(const std::filesystem::path& path, const std::function<void(File&)>& write, bool sync = true,
                  const char* tag = "checkpoint");
/// The same with these bytes.
void replace_file(const std::filesystem::path& path, const std::string& bytes, bool sync, const char* tag = "checkpoint");
/// IoError with errno's words and a remedy for this kind of access.
[[noreturn]] void throw_io_error(const std::string& message, int error, const char* tag = "checkpoint", Access access = Access::write);

/// While it lives, writes of this thread beyond the file size limit fail with EFBIG instead of raising SIGXFSZ.
class HoldFileSizeSignal {
 public:
  HoldFileSizeSignal();
  ~HoldFileSizeSignal();
  HoldFileSizeSignal(const HoldFileSizeSignal&) = delete;
  HoldFileSizeSignal& operator=(const HoldFileSizeSignal&) = delete;

 private:
  bool mine_ = false;
};

}  // namespace levin::detail
