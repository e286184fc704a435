#include "levin/core/memory.h"

#include "../../src/core/memory_groups.h"
#include "fake_root.h"
#include "levin_test.h"

using levin::detail::available_memory_below;
using levin::detail::memory_groups;
using levin::test::FakeRoot;

BOOST_AUTO_TEST_SUITE(core_memory)

namespace {

constexpr int64_t kib = 1024;

// A machine of which 1000 KiB are available.
void set_machine(const FakeRoot& root, const std::string& groups) {
  root.set("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 700 kB\nMemAvailable: 1000 kB\n");
  root.set("proc/self/cgroup", groups);
}

void set_version2(const FakeRoot& root, const std::string& group, const std::string& max, int64_t current, int64_t files) {
  const auto folder = "sys/fs/cgroup" + group;
  root.set(folder + "/memory.max", max + "\n");
  root.set(folder + "/memory.current", std::to_string(current) + "\n");
  root.set(folder + "/memory.stat", "anon 5\nactive_file " + std::to_string(files) + "\ninactive_file 0\nworkingset_nodes 3\n");
}

}  // namespace

BOOST_AUTO_TEST_CASE(without_control_groups) {
  const FakeRoot root;
  BOOST_TEST(available_memory_below(root.path) == INT64_MAX);
  set_machine(root, "");
  BOOST_TEST(available_memory_below(root.path) == 1000 * kib);
  BOOST_TEST((levin::available_memory() > 0 && levin::memory_limit().value_or(1) > 0));
}

// Slurm limits the job or the step; the process is in a group of its task, and the top has no limit.
BOOST_AUTO_TEST_CASE(a_job_of_version_2) {
  const FakeRoot root;
  set_machine(root, "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n");
  const std::string job = "/system.slice/slurmstepd.scope/job_7";
  root.set("sys/fs/cgroup/memory.stat", "anon 5\n");
  set_version2(root, job + "/step_0/user/task_0", "max", 300 * kib, 0);
  set_version2(root, job + "/step_0", "max", 300 * kib, 0);
  set_version2(root, job, "max", 350 * kib, 0);
  BOOST_TEST(available_memory_below(root.path) == 1000 * kib);
  set_version2(root, job, std::to_string(800 * kib), 350 * kib, 0);
  BOOST_TEST(available_memory_below(root.path) == 450 * kib);
  set_version2(root, job + "/step_0", std::to_string(600 * kib), 300 * kib, 0);
  BOOST_TEST(available_memory_below(root.path) == 300 * kib);
  root.set("sys/fs/cgroup" + job + "/step_0/memory.high", std::to_string(500 * kib));
  BOOST_TEST(available_memory_below(root.path) == 200 * kib);
  set_version2(root, job + "/step_0", std::to_string(200 * kib), 300 * kib, 0);
  BOOST_TEST(available_memory_below(root.path) == 0);
}

// Data that a job has read stays in memory until something needs the place.
BOOST_AUTO_TEST_CASE(pages_of_files_are_available) {
  const FakeRoot root;
  set_machine(root, "0::/job\n");
  set_version2(root, "/job", std::to_string(800 * kib), 790 * kib, 600 * kib);
  BOOST_TEST(available_memory_below(root.path) == 610 * kib);
}

BOOST_AUTO_TEST_CASE(a_job_of_version_1) {
  const FakeRoot root;
  set_machine(root, "5:cpuset:/slurm/other\n4:cpu,memory:/slurm/uid_1/job_7/step_0\n0::/init.scope\n");
  const std::string job = "sys/fs/cgroup/memory/slurm/uid_1/job_7";
  root.set("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.set("sys/fs/cgroup/memory/memory.usage_in_bytes", "123456\n");
  root.set(job + "/memory.limit_in_bytes", std::to_string(500 * kib));
  root.set(job + "/memory.usage_in_bytes", std::to_string(300 * kib));
  root.set(job + "/memory.stat", "active_file 4096\ntotal_active_file " + std::to_string(100 * kib) + "\ntotal_inactive_file 0\n");
  BOOST_TEST(available_memory_below(root.path) == 300 * kib);
}

// A container whose groups lie elsewhere on its host sees its own at the top.
BOOST_AUTO_TEST_CASE(groups_outside_of_what_is_mounted) {
  const FakeRoot root;
  set_machine(root, "0::/../../docker/4f/job\n");
  set_version2(root, "", std::to_string(400 * kib), 100 * kib, 0);
  BOOST_TEST(available_memory_below(root.path) == 300 * kib);
  for (const auto& group : memory_groups(root.path)) BOOST_TEST(group.folder == root.path / "sys/fs/cgroup");
  set_machine(root, "0::/docker/4f/job\n");
  BOOST_TEST(available_memory_below(root.path) == 300 * kib);
}

BOOST_AUTO_TEST_SUITE_END()
