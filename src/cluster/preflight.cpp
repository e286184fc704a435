#include "levin/cluster/preflight.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <link.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <torch/csrc/api/include/torch/version.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "host_ranks.h"
#include "levin/cluster/launcher.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin/core/hdf5_lock.h"
#include "levin/core/memory.h"
#include "levin/core/version.h"

namespace levin {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

class ProbedFile {
 public:
  ProbedFile(const fs::path& path, int flags) : descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) error_ = errno;
  }
  ~ProbedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  ProbedFile(const ProbedFile&) = delete;
  ProbedFile& operator=(const ProbedFile&) = delete;
  int descriptor() const noexcept { return descriptor_; }
  int error() const noexcept { return error_; }  // errno of open; 0: it is open
  int close() noexcept { return ::close(std::exchange(descriptor_, -1)) == 0 ? 0 : errno; }

 private:
  int descriptor_, error_ = 0;
};

/// A file that a rank of this host has read: which one it is, and the hash of its bytes.
struct FileRecord {
  uint64_t device = 0, inode = 0, bytes = 0, modified = 0, hash = 0;
  bool same_file(const FileRecord& other) const noexcept {
    return bytes > 0 && device == other.device && inode == other.inode && bytes == other.bytes && modified == other.modified;
  }
};

FileRecord record_of(const fs::path& path) {
  struct stat status {};
  if (path.empty() || stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
          static_cast<uint64_t>(status.st_mtim.tv_sec) * 1000000000U + static_cast<uint64_t>(status.st_mtim.tv_nsec)};
}

uint64_t hash_of(const fs::path& path) {
  const ProbedFile file(path, O_RDONLY);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  if (file.error() != 0 || !state || XXH3_64bits_reset(state.get()) != XXH_OK) return 0;
  std::vector<char> bytes(1 << 20);
  for (ssize_t count; (count = read(file.descriptor(), bytes.data(), bytes.size())) > 0;)
    XXH3_64bits_update(state.get(), bytes.data(), static_cast<size_t>(count));
  return XXH3_64bits_digest(state.get());
}

/// The path of a library that this process has loaded, by the beginning of its file name; empty: it has none.
fs::path loaded_library(std::string_view begin) {
  struct Search {
    std::string_view begin;
    fs::path found = {};
  } search{begin};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        const fs::path path = info->dlpi_name;
        if (!path.filename().native().starts_with(wanted.begin)) return 0;
        wanted.found = path;
        return 1;
      },
      &search);
  return search.found;
}

// "hosts hosta, hostb", at most eight.
std::string name_hosts(const std::vector<std::string>& hosts) {
  constexpr size_t most = 8;
  const std::vector<std::string> shown(hosts.begin(), hosts.begin() + static_cast<std::ptrdiff_t>(std::min(most, hosts.size())));
  return fmt::format("{} {}{}", hosts.size() == 1 ? "host" : "hosts", fmt::join(shown, ", "),
                     hosts.size() > most ? fmt::format(" and {} more", hosts.size() - most) : "");
}

/// The file by which ranks see whether a directory is the same on their hosts. Its name says what it must contain.
class ProbeFile {
 public:
  explicit ProbeFile(fs::path path) : path_(std::move(path)) {}
  ~ProbeFile() {
    std::error_code unseen;
    if (written_) fs::remove(path_, unseen);
  }
  ProbeFile(const ProbeFile&) = delete;
  ProbeFile& operator=(const ProbeFile&) = delete;

  static std::string new_name() {
    return fmt::format(".probe-{}-{}", getpid(), std::chrono::system_clock::now().time_since_epoch().count());
  }
  /// errno, or 0.
  int write() {
    ProbedFile file(path_, O_WRONLY | O_CREAT | O_EXCL);
    if (file.error() != 0) return file.error();
    written_ = true;
    const auto content = path_.filename().native();
    const auto count = ::write(file.descriptor(), content.data(), content.size());
    if (count != static_cast<ssize_t>(content.size())) return count < 0 ? errno : ENOSPC;
    return file.close();
  }
  /// The same for a file that another host has written; other_content: it is not that file.
  int check() const {
    const auto end = std::chrono::steady_clock::now() + longest_delay;
    for (;;) {
      const ProbedFile file(path_, O_RDWR | O_NOFOLLOW);
      std::array<char, 64> bytes{};
      const auto count = file.error() == 0 ? read(file.descriptor(), bytes.data(), bytes.size()) : 0;
      if (count < 0) return errno;
      const auto& expected = path_.filename().native();
      const std::string content(bytes.data(), static_cast<size_t>(count));
      if (file.error() == 0 && content == expected) return 0;
      // An empty file is being written; a file system may show a new file late.
      const bool may_come = file.error() == ENOENT || file.error() == ESTALE || (file.error() == 0 && content.empty());
      if (!may_come || std::chrono::steady_clock::now() > end) return file.error() == 0 ? other_content : file.error();
      std::this_thread::sleep_for(20ms);
    }
  }
  static constexpr int other_content = -1;

 private:
  static constexpr std::chrono::milliseconds longest_delay = 2s;
  fs::path path_;
  bool written_ = false;
};

[[noreturn]] void refuse_directory(const Topology& topology, const std::vector<int>& results, const fs::path& directory,
                                   std::string_view name, std::string_view remedy) {
  std::map<int, std::vector<std::string>> hosts;  // by what happened
  for (size_t rank = 0; rank < results.size(); rank++)
    if (results[rank] != 0) hosts[results[rank]].push_back(topology.locations()[rank].host);
  std::string failures;
  for (const auto& [result, names] : hosts) {
    const bool invisible = result == ENOENT || result == ESTALE || result == ProbeFile::other_content;
    failures += fmt::format("{}{} {}", failures.empty() ? "" : "; ", name_hosts(names),
                            invisible ? fmt::format("cannot see a file that rank 0 on {} has written there", topology.locations()[0].host)
                                      : fmt::format("cannot write to it: {}", std::strerror(result)));
  }
  throw IoError(fmt::format("{} {}: {}", name, directory.string(), failures), std::string(remedy), "cluster");
}

}  // namespace

std::string hdf5_version() {
  const Hdf5Lock lock;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string loaded_nccl_version() {
  const auto path = loaded_library("libnccl.so");
  if (path.empty()) return {};
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  const auto get_version = library ? reinterpret_cast<int (*)(int*)>(dlsym(library, "ncclGetVersion")) : nullptr;
  int code = 0;
  const bool known = get_version && get_version(&code) == 0;
  if (library) dlclose(library);
  return known ? fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100) : "of unknown version";
}

void add_program_identity(const MpiRuntime& runtime, RankStatus& status) {
  constexpr size_t program = 0, levin = 1, libtorch = 2;
  const std::array<fs::path, 3> paths{"/proc/self/exe", loaded_library("liblevin.so"), loaded_library("libtorch_cpu.so")};
  std::array<FileRecord, 3> mine;
  std::transform(paths.begin(), paths.end(), mine.begin(), record_of);
  const detail::HostRanks host(runtime);
  const auto hash = [&](FileRecord& record, size_t i) { record.hash = i == libtorch ? record.bytes : hash_of(paths[i]); };  // 500 MB
  if (host.rank() == 0)
    for (size_t i = 0; i < mine.size(); i++) hash(mine[i], i);
  const auto firsts = host.first(mine);
  for (size_t i = 0; i < mine.size() && host.rank() != 0; i++)
    if (mine[i].same_file(firsts[i]))
      mine[i].hash = firsts[i].hash;
    else
      hash(mine[i], i);
  std::error_code unseen;
  auto& values = status.must_be_equal;
  values.emplace_back("program", fmt::format("{:016x}", mine[program].hash));
  values.emplace_back("Levin", fmt::format("{} ({:016x})", version, mine[levin].hash));
  values.emplace_back("LibTorch", fmt::format("{} ({} bytes)", TORCH_VERSION, mine[libtorch].hash));
  values.emplace_back("MPI", mpi_library());
  values.emplace_back("HDF5", hdf5_version());
  if (const auto nccl = loaded_nccl_version(); !nccl.empty()) values.emplace_back("NCCL", nccl);
  status.details.emplace_back("program", fs::read_symlink(paths[program], unseen).string() + "\n");
  status.details.emplace_back("Levin", paths[levin].string() + "\n");
  status.details.emplace_back("LibTorch", paths[libtorch].string() + "\n");
}

void check_shared_directory(const MpiRuntime& runtime, const Topology& topology, const fs::path& directory, std::string_view name,
                            std::string_view remedy) {
  const int rank = runtime.rank();
  // By MPI alone: a rank that throws aborts the Communicator, and others may still read the last result.
  ProbeFile probe(directory / broadcast_text(runtime.communicator(), rank == 0 ? ProbeFile::new_name() : std::string()));
  int result = rank == 0 ? probe.write() : 0, failed = result;
  check_mpi(MPI_Bcast(&failed, 1, MPI_INT, 0, runtime.communicator()), "MPI_Bcast");
  if (failed != 0)
    throw IoError(fmt::format("{} {}: rank 0 on {} cannot write to it: {}", name, directory.string(), topology.locations()[0].host,
                              std::strerror(failed)),
                  std::string(remedy), "cluster");
  if (topology.hosts() == 1) return;
  if (topology.self().local_rank == 0 && rank != 0) result = probe.check();
  std::vector<int> results(static_cast<size_t>(runtime.size()));
  check_mpi(MPI_Allgather(&result, 1, MPI_INT, results.data(), 1, MPI_INT, runtime.communicator()), "MPI_Allgather");
  // From now on rank 0 may remove the file.
  if (std::any_of(results.begin(), results.end(), [](int each) { return each != 0; }))
    refuse_directory(topology, results, broadcast_text(runtime.communicator(), directory.string()), name, remedy);
}

std::string compare_checkpoint_space(const std::vector<PlannedCheckpoints>& planned, int64_t free_bytes) {
  int64_t once = 0, all = 0, count = 0;
  for (const auto& plan : planned) {
    const int64_t more = plan.keep < 0 ? 1 : std::max<int64_t>(1, plan.keep + 1 - plan.found);
    once += plan.bytes;
    all += plan.bytes * more;
    count += more;
  }
  if (planned.empty() || free_bytes >= all) return {};
  const auto folder = planned.front().folder.string();
  if (free_bytes < once)
    throw IoError(fmt::format("{}: {} are free, and a checkpoint needs {}", folder, bytes_text(free_bytes), bytes_text(once)),
                  "free some space, or write checkpoints to another file system (--checkpoint_dir)", "cluster");
  return fmt::format(
      "[cluster] {}: {} are free, and the {} checkpoints that will be there at a time need {} more; free some space, keep "
      "fewer (save_top_k), or write them to another file system (--checkpoint_dir)",
      folder, bytes_text(free_bytes), count, bytes_text(all));
}

std::string check_checkpoint_space(ValueRanks ranks, const std::vector<PlannedCheckpoints>& planned) {
  const auto warning = on_all_ranks(ranks.communicator(), "cluster", [&] {
    std::string texts;
    if (ranks.rank() != 0) return texts;
    std::map<uint64_t, std::vector<PlannedCheckpoints>> by_file_system;
    for (const auto& plan : planned) by_file_system[record_of(plan.folder).device].push_back(plan);
    for (const auto& [device, plans] : by_file_system) {
      struct statvfs space {};
      if (statvfs(plans.front().folder.c_str(), &space) != 0 || space.f_blocks == 0) continue;  // it does not say
      const auto text = compare_checkpoint_space(plans, static_cast<int64_t>(space.f_bavail * space.f_frsize));
      texts += (texts.empty() || text.empty() ? "" : "\n") + text;
    }
    return texts;
  });
  return broadcast_text(ranks, warning);
}

std::string home_warning(const fs::path& directory, const BatchJob& job, const GetVariable& get_variable) {
  const char* home = get_variable("HOME");
  if (!job.exists() || job.interactive || !home || *home != '/') return {};
  std::error_code unseen;
  const auto root = fs::weakly_canonical(home, unseen), below = fs::weakly_canonical(directory, unseen).lexically_relative(root);
  if (root == root.root_path() || below.empty() || *below.begin() == "..") return {};
  return fmt::format(
      "[cluster] the run directory {} is below $HOME, which is small or slow on many clusters; give a --run_dir on a file system "
      "for the data of jobs, such as $SCRATCH",
      directory.string());
}

}  // namespace levin
