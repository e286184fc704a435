#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "doctor.h"
#include "levin/cluster/batch_job.h"
#include "levin/cluster/preflight.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/memory.h"

namespace levin::doctor {
namespace {

using FileClock = std::chrono::steady_clock;
constexpr size_t chunk = 8 << 20;
constexpr int64_t most_bytes = int64_t{256} << 20;

/// A file of this rank, which ends with this object.
class TestFile {
 public:
  explicit TestFile(const std::filesystem::path& directory, int rank)
      : path_(directory / fmt::format(".levin-doctor-{}-{}", getpid(), rank)),
        descriptor_(open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)),
        bytes_(chunk, 'x') {
    if (descriptor_ < 0) fail("cannot be created");
  }
  ~TestFile() {
    close(descriptor_);
    unlink(path_.c_str());
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  /// GB/s, with fsync.
  double write_speed(double seconds) {
    struct statvfs space {};
    const int64_t room = fstatvfs(descriptor_, &space) == 0 ? static_cast<int64_t>(space.f_bavail * space.f_frsize) / 4 : most_bytes;
    return speed(
        std::min(room, most_bytes), seconds, [&](size_t count) { return write(descriptor_, bytes_.data(), count); },
        [&] {
          if (fsync(descriptor_) != 0) fail("cannot be flushed");
        });
  }
  /// Of what was written. Its pages leave the cache where the kernel lets them.
  double read_speed(double seconds) {
    posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
    lseek(descriptor_, 0, SEEK_SET);
    return speed(
        std::numeric_limits<int64_t>::max(), seconds, [&](size_t count) { return read(descriptor_, bytes_.data(), count); }, [] {});
  }

 private:
  template <class Transfer, class End>
  double speed(int64_t most, double seconds, const Transfer& transfer, const End& end) {
    const auto began = FileClock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(FileClock::now() - began).count(); };
    int64_t total = 0;
    while (total < most && elapsed() < seconds) {
      const auto count = transfer(static_cast<size_t>(std::min<int64_t>(chunk, most - total)));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("failed");
      if (count == 0) break;
      total += count;
    }
    end();
    return static_cast<double>(total) / elapsed() * 1e-9;
  }
  [[noreturn]] void fail(const char* what) const {
    throw IoError(fmt::format("{} {}: {}", path_.string(), what, std::strerror(errno)), {}, "doctor");
  }

  std::filesystem::path path_;
  int descriptor_;
  std::vector<char> bytes_;
};

}  // namespace

void check_directory(Doctor& doctor, double seconds) {
  auto& report = doctor.report;
  std::error_code unseen;
  const auto directory = std::filesystem::absolute(doctor.options.directory, unseen);
  try {
    check_shared_directory(doctor.mpi, doctor.topology, directory, "the directory", "name another one with --directory");
  } catch (const IoError& error) {  // on all ranks
    report.line("directory", directory.string());
    report.finding(error.what());
    return;
  }
  struct statvfs space {};
  const bool known = statvfs(directory.c_str(), &space) == 0;
  report.line("directory", fmt::format("{}{}, {} free", directory.string(),
                                       doctor.topology.hosts() > 1 ? ", the same and writable on all hosts" : ", writable",
                                       known ? bytes_text(static_cast<int64_t>(space.f_bavail * space.f_frsize)) : "unknown"));
  const auto home = home_warning(directory, detect_batch_job(std::getenv), std::getenv);
  if (const auto text = broadcast_text(doctor.communicator, home); !text.empty()) report.finding(text);
  if (!doctor.options.speed) return;
  const double none = std::numeric_limits<double>::quiet_NaN();
  std::unique_ptr<TestFile> file;
  const auto writes = report.gather("write", [&] {
    if (!doctor.first_of_host()) return none;
    file = std::make_unique<TestFile>(directory, doctor.mpi.rank());
    return file->write_speed(seconds / 3);
  });
  const auto reads = report.gather(
      "read", [&] { return file && !std::isnan(writes[static_cast<size_t>(doctor.mpi.rank())]) ? file->read_speed(seconds / 3) : none; });
  std::vector<std::string> hosts;
  for (const auto& location : doctor.topology.locations()) hosts.push_back(location.host);
  report.spread("write", writes, hosts, "GB/s a host", Better::higher, ", with fsync, all hosts at once");
  report.spread("read", reads, hosts, "GB/s a host", Better::higher, ", perhaps from the page cache");
}

}  // namespace levin::doctor
