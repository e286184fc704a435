#include "byte_source.h"

#include <fcntl.h>
#include <fmt/std.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

class SourceFile {
 public:
  explicit SourceFile(const std::filesystem::path& path) : path_(path.string()) {
    // Without O_NONBLOCK opening a pipe waits for a writer.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) fail("open");
    struct stat about {};
    if (::fstat(descriptor_, &about) != 0) {
      const int error = errno;
      ::close(descriptor_);
      errno = error;
      fail("fstat");
    }
    if (!S_ISREG(about.st_mode)) {
      ::close(descriptor_);
      throw IoError(fmt::format("{} is not a regular file but {}", path_, kind_of(about.st_mode)), "give the path of a regular file",
                    "data");
    }
    size_ = static_cast<uint64_t>(about.st_size);
  }
  ~SourceFile() { ::close(descriptor_); }
  SourceFile(const SourceFile&) = delete;
  SourceFile& operator=(const SourceFile&) = delete;

  size_t read(std::span<std::byte> out) {
    size_t done = 0;
    while (done < out.size()) {
      const auto got = ::read(descriptor_, out.data() + done, std::min<size_t>(out.size() - done, size_t{1} << 30));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read");
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }
  void rewind() {
    if (::lseek(descriptor_, 0, SEEK_SET) != 0) fail("lseek");
  }
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* call) const {
    throw IoError(fmt::format("{}: {}: {}", path_, call, std::strerror(errno)), "give the path of a file that can be read", "data");
  }
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(std::unique_ptr<SourceFile> file) : file_(std::move(file)) {}
  size_t read(std::span<std::byte> out) override { return file_->read(out); }
  uint64_t most_bytes() const override { return file_->size(); }

 private:
  std::unique_ptr<SourceFile> file_;
};

class GzipSource final : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<SourceFile> file) : file_(std::move(file)), input_(1 << 18) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK)
      throw IoError(fmt::format("{}: zlib cannot allocate memory", file_->path()), "use fewer worker threads", "data");
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  size_t read(std::span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size() && !ended_) {
      const auto room = static_cast<uInt>(std::min<size_t>(out.size() - done, size_t{1} << 30));
      if (stream_.avail_in == 0) refill();
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      stream_.avail_out = room;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      done += room - stream_.avail_out;
      if (status == Z_STREAM_END) {  // a file may be several compressed ones in a row
        if (stream_.avail_in == 0) refill();
        ended_ = stream_.avail_in == 0;
        if (!ended_) inflateReset(&stream_);
      } else if (status == Z_BUF_ERROR && stream_.avail_in == 0 && at_end_) {
        fail("is truncated");
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        fail(stream_.msg ? stream_.msg : "needs a feature that zlib lacks");
      }
    }
    return done;
  }
  // Deflate cannot do better than 1032 : 1.
  uint64_t most_bytes() const override { return file_->size() * 1032; }

 private:
  void refill() {
    const auto got = file_->read(std::as_writable_bytes(std::span(input_)));
    at_end_ = got < input_.size();
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<uInt>(got);
  }
  [[noreturn]] void fail(const char* message) const {
    throw DataError(fmt::format("{}: the gzip file {}", file_->path(), message), "copy the file again");
  }

  std::unique_ptr<SourceFile> file_;
  std::vector<Bytef> input_;
  z_stream stream_{};
  bool at_end_ = false, ended_ = false;
};

bool begins_as_gzip(SourceFile& file) {
  std::array<std::byte, 2> magic{};
  return file.read(magic) == 2 && magic[0] == std::byte{0x1F} && magic[1] == std::byte{0x8B};
}

}  // namespace

bool ByteSource::is_compressed(const std::filesystem::path& path) {
  SourceFile file(path);
  return begins_as_gzip(file);
}

std::unique_ptr<ByteSource> ByteSource::open(const std::filesystem::path& path) {
  auto file = std::make_unique<SourceFile>(path);
  const bool gzip = begins_as_gzip(*file);
  file->rewind();
  if (gzip) return std::make_unique<GzipSource>(std::move(file));
  return std::make_unique<PlainSource>(std::move(file));
}

}  // namespace levin::detail
