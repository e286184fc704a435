#include "file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <utility>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

constexpr rlim_t spare_descriptors = 64;               // for HDF5 and MPI, which open files, too
constexpr size_t most_bytes_a_call = size_t{1} << 30;  // Linux takes no more than 2 GiB

const char* remedy_of_any(int error) {
  switch (error) {
    case EMFILE: return "raise the limit of open files (ulimit -n)";
    case ENFILE: return "close files of other programs: the host has too many open";
    case EIO:
    case ESTALE: return "check the file system and its server, then start again";
    default: return "";
  }
}

const char* remedy_of_write(int error, bool checkpoint) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return checkpoint ? "free some space there, or save in another folder" : "free some space there, or write to another folder";
    case EFBIG: return "raise the limit of file sizes (ulimit -f)";
    case EROFS:
    case EACCES:
    case EPERM: return checkpoint ? "save to a writable directory" : "write to a folder with write permission";
    case ENOENT: return "make the folder visible to all hosts, and do not remove it while a job writes to it";
    default: return remedy_of_any(error);
  }
}

const char* remedy_of_read(int error) {
  switch (error) {
    case EACCES:
    case EPERM: return "give this user read permission for the file, and search permission for its folders";
    case ENOENT: return "make the file visible to all hosts, and do not remove it while a job reads it";
    default: return remedy_of_any(error);
  }
}

std::string other_file(std::string_view tag) { return tag == "checkpoint" ? "use another checkpoint" : "give another file"; }

// Raises the soft limit of open files to the hard one before the last descriptors are taken: a checkpoint can have thousands of files.
int open_file(const char* path, int flags) {
  const auto try_to_open = [&] { return ::open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0664); };
  const int descriptor = try_to_open();
  if (descriptor < 0 && errno != EMFILE) return descriptor;
  rlimit limit{};
  const auto taken = static_cast<rlim_t>(descriptor) + spare_descriptors;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max && (descriptor < 0 || taken >= limit.rlim_cur)) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  return descriptor >= 0 ? descriptor : try_to_open();
}

thread_local int holding = 0;

sigset_t file_size_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  return set;
}

}  // namespace

void throw_io_error(const std::string& message, int error, const char* tag, Access access) {
  const bool checkpoint = std::string_view(tag) == "checkpoint";
  throw IoError(fmt::format("{}: {}", message, std::strerror(error)),
                access == Access::read ? remedy_of_read(error) : remedy_of_write(error, checkpoint), tag);
}

// Only the outermost instance of a thread acts, so that a loop of writes pays for the calls once.
HoldFileSizeSignal::HoldFileSizeSignal() {
  if (holding++ > 0) return;
  const sigset_t signal = file_size_signal();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &signal, &before);
  mine_ = sigismember(&before, SIGXFSZ) == 0;
}

HoldFileSizeSignal::~HoldFileSizeSignal() {
  --holding;
  if (!mine_) return;
  const sigset_t signal = file_size_signal();
  const timespec at_once{};
  while (sigtimedwait(&signal, nullptr, &at_once) == SIGXFSZ) continue;
  pthread_sigmask(SIG_UNBLOCK, &signal, nullptr);
}

File::File(std::filesystem::path path, int flags, const char* tag)
    : path_(std::move(path)), tag_(tag), access_((flags & O_ACCMODE) == O_RDONLY ? Access::read : Access::write) {
  descriptor_ = open_file(path_.c_str(), flags);
}

File File::create(const std::filesystem::path& path, const char* tag) {
  File file(path, O_RDWR | O_CREAT | O_EXCL, tag);
  if (file.descriptor_ < 0) file.fail("create", errno);
  return file;
}

File File::open_to_write(const std::filesystem::path& path, const char* tag) {
  File file(path, O_RDWR, tag);
  if (file.descriptor_ < 0) file.fail("open", errno);
  return file;
}

File File::open_to_read(const std::filesystem::path& path, const char* tag) {
  File file(path, O_RDONLY | O_NONBLOCK, tag);  // a pipe must not wait for a writer before it can be refused
  const auto refuse = [&](const char* why) { throw DataError(fmt::format("{} {}", path.string(), why), other_file(tag), tag); };
  if (file.descriptor_ < 0 && errno == ENOENT) refuse("is missing");
  if (file.descriptor_ < 0 && errno == ENOTDIR) refuse("is not in a directory");
  if (file.descriptor_ < 0 && errno == ELOOP)
    throw DataError(fmt::format("{} is a symbolic link", path.string()), "name the file that it links to", tag);
  if (file.descriptor_ < 0) file.fail("open", errno);
  struct stat about {};
  if (fstat(file.descriptor_, &about) != 0) file.fail("stat", errno);
  if (!S_ISREG(about.st_mode)) refuse("is not a regular file");
  return file;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), tag_(other.tag_), access_(other.access_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(tag_, other.tag_);
  std::swap(access_, other.access_);
  return *this;
}

void File::fail(const char* call, int error) const {
  throw_io_error(fmt::format("cannot {} {}", call, path_.string()), error, tag_, access_);
}

uint64_t File::size() const {
  struct stat about {};
  if (fstat(descriptor_, &about) != 0) fail("stat", errno);
  return static_cast<uint64_t>(about.st_size);
}

void File::resize(uint64_t bytes) {
  const HoldFileSizeSignal hold;
  if (ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) fail("resize", errno);
}

void File::write_at(const void* data, size_t bytes, uint64_t offset) {
  const HoldFileSizeSignal hold;
  const auto* from = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const auto done = pwrite(descriptor_, from, std::min(bytes, most_bytes_a_call), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail("write", done < 0 ? errno : ENOSPC);
    from += done;
    bytes -= static_cast<size_t>(done);
    offset += static_cast<uint64_t>(done);
  }
}

void File::read_at(void* data, size_t bytes, uint64_t offset) const {
  auto* to = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const auto done = pread(descriptor_, to, std::min(bytes, most_bytes_a_call), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("read", errno);
    if (done == 0)
      throw DataError(fmt::format("{} is truncated: it ends at byte {}, {} bytes too early", path_.string(), offset, bytes),
                      other_file(tag_), tag_);
    to += done;
    bytes -= static_cast<size_t>(done);
    offset += static_cast<uint64_t>(done);
  }
}

void File::sync() {
  if (fsync(descriptor_) != 0) fail("write to disk", errno);
}

void File::close() {
  if (descriptor_ >= 0 && ::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail("close", errno);
}

std::vector<std::filesystem::path> list_directory(const std::filesystem::path& directory, std::error_code& error) {
  std::vector<std::filesystem::path> paths;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    paths.push_back(entry->path());
  return paths;
}

void sync_directory(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_io_error(fmt::format("cannot open {}", directory.string()), errno);
  const int error = fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems have no fsync for directories.
  if (error != 0 && error != EINVAL) throw_io_error(fmt::format("cannot write {} to disk", directory.string()), error);
}

void replace_file(const std::filesystem::path& path, const std::function<void(File&)>& write, bool sync, const char* tag) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto partial = folder / fmt::format(".{}.partial-{}", path.filename().string(), getpid());
  std::error_code unseen;
  std::filesystem::remove(partial, unseen);
  try {
    auto file = File::create(partial, tag);
    write(file);
    if (sync) file.sync();
    file.close();
    std::error_code error;
    std::filesystem::rename(partial, path, error);
    if (error) throw_io_error(fmt::format("cannot replace {}", path.string()), error.value(), tag);
  } catch (...) {
    std::filesystem::remove(partial, unseen);
    throw;
  }
  if (sync) sync_directory(folder);
}

void replace_file(const std::filesystem::path& path, const std::string& bytes, bool sync, const char* tag) {
  replace_file(
      path, [&](File& file) { file.write_at(bytes.data(), bytes.size(), 0); }, sync, tag);
}

}  // namespace levin::detail
