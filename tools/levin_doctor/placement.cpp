#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "doctor.h"
#include "levin/cluster/batch_job.h"
#include "levin/cluster/core_binding.h"
#include "levin/cluster/launcher.h"
#include "levin/cluster/preflight.h"
#include "levin/comm/host_values.h"
#include "levin/comm/thread_count.h"
#include "levin/core/error.h"
#include "levin/core/memory.h"

namespace levin::doctor {
namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();
constexpr int64_t little_shared_memory = int64_t{256} << 20;  // a container's default is 64 MiB

const char* variable(const char* name) { return std::getenv(name); }

int64_t limit_of(int resource) {
  rlimit limit{};
  if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return unlimited;
  return static_cast<int64_t>(limit.rlim_cur);
}

int64_t free_bytes(const char* directory) {
  struct statvfs space {};
  return statvfs(directory, &space) == 0 ? static_cast<int64_t>(space.f_bavail * space.f_frsize) : unlimited;
}

std::string bytes_or_unlimited(int64_t bytes) { return bytes == unlimited ? "unlimited" : bytes_text(bytes); }

}  // namespace

void check_program(Doctor& doctor) {
  RankStatus status;
  add_program_identity(doctor.mpi, status);
  std::string versions;
  for (const auto& [name, value] : status.must_be_equal)
    if (name != "program") versions += fmt::format("{}{} {}", versions.empty() ? "" : ", ", name, value);
  doctor.report.line("program", versions);
  if (const auto agreement = check_same_on_all_ranks(doctor.mpi, status); !agreement.good()) doctor.report.finding(agreement.message);
  const auto launchers = describe_launchers(variable);
  doctor.report.line("launcher", broadcast_text(doctor.communicator, launchers.empty() ? "none" : launchers));
  doctor.report.line("job", detect_batch_job(variable).describe());
  std::string warning;
  on_all_ranks(doctor.communicator, "doctor", [&] {
    if (doctor.mpi.rank() == 0) try {
        warning = check_launcher(doctor.mpi.size(), variable);
      } catch (const ConfigError& error) {
        warning = error.what();
      }
  });
  if (const auto text = broadcast_text(doctor.communicator, warning); !text.empty()) doctor.report.finding(text);
}

void check_placement(Doctor& doctor) {
  auto placement = doctor.topology.describe();
  placement.resize(placement.find_last_not_of('\n') + 1);
  doctor.report.line("cores", placement);
  // OMP_NUM_THREADS of another rank may be invalid.
  const auto count = on_all_ranks(doctor.communicator, "doctor", [&] { return choose_threads(0, doctor.topology, variable); });
  at::set_num_threads(static_cast<int>(count.threads));
  doctor.report.line("threads", fmt::format("{} per rank: {}", count.threads, count.reason));
  const int64_t devices = doctor.device.is_cpu() ? 0 : doctor.accelerator.device_count();
  doctor.report.line("device",
                     doctor.device.is_cpu() ? "cpu" : fmt::format("{}, {} visible to rank 0", doctor.accelerator.name(), devices));
  for (auto& warning : placement_warnings(doctor.communicator, doctor.topology, {count.threads, devices}))
    doctor.report.finding(std::move(warning));
}

void check_memory(Doctor& doctor) {
  struct Memory {
    int64_t available, cgroup, address_space, locked, files, shared;
  };
  const Memory mine{available_memory(),      memory_limit().value_or(unlimited),
                    limit_of(RLIMIT_AS),     limit_of(RLIMIT_MEMLOCK),
                    limit_of(RLIMIT_NOFILE), free_bytes("/dev/shm")};
  const auto all = all_gather_value(doctor.communicator, mine);
  const auto least = [&](int64_t Memory::*field) {
    const auto found = std::min_element(all.begin(), all.end(), [&](const Memory& a, const Memory& b) { return a.*field < b.*field; });
    return std::pair((*found).*field, static_cast<int>(found - all.begin()));
  };
  const auto [available, poorest] = least(&Memory::available);
  const auto files = least(&Memory::files).first;
  doctor.report.line(
      "memory", fmt::format("{} available ({}), limit of the control group {}, of the address space {}, locked {}", bytes_text(available),
                            doctor.report.rank_name(poorest), bytes_or_unlimited(least(&Memory::cgroup).first),
                            bytes_or_unlimited(least(&Memory::address_space).first), bytes_or_unlimited(least(&Memory::locked).first)));
  doctor.report.line("limits",
                     fmt::format("{} open files, {} free in /dev/shm", files == unlimited ? "unlimited" : fmt::format("{}", files),
                                 bytes_or_unlimited(least(&Memory::shared).first)));
  if (const auto [shared, rank] = least(&Memory::shared); shared < little_shared_memory)
    doctor.report.finding(
        fmt::format("{}: {} are free in /dev/shm, where ranks of a host share parameters; enlarge it, or name another "
                    "directory with --trainer.window_directory",
                    doctor.report.rank_name(rank), bytes_text(shared)));
}

}  // namespace levin::doctor
