#include "levin/cluster/launcher.h"

#include <unistd.h>

#include <map>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::check_launcher;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(cluster_launcher)

namespace {

using Environment = std::map<std::string, std::string>;

std::string check(int size, const Environment& environment) {
  return check_launcher(size, [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_rank_where_several_were_meant) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_LOCAL_SIZE", "FLUX_JOB_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    check_throws<levin::ConfigError>(
        [&] {
          check(1, {{name, "4"}});
        },
        {std::string(name) + "=4", "started 4 ranks", "mpirun -n 1", "srun -n 1", "sees one rank", "built with"});
    BOOST_TEST(check(4, {{name, "4"}}) == "");
    BOOST_TEST(check(1, {{name, "1"}}) == "");
    BOOST_TEST(check(1, {{name, "four"}}) == "");
  }
  check_throws<levin::ConfigError>([&] { check(1, {{"PMIX_RANK", "2"}}); }, {"PMIX_RANK=2", "at least 3 ranks"});
  check_throws<levin::ConfigError>([&] { check(1, {{"PALS_RANKID", "1"}}); }, {"PALS_RANKID=1", "at least 2 ranks"});
  BOOST_TEST(check(1, {}) == "");
}

BOOST_AUTO_TEST_CASE(the_nearest_launcher_is_believed) {
  // mpirun -n 1 on two nodes under Slurm: srun started two daemons, mpirun one rank.
  BOOST_TEST(check(1, {{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}) == "");
}

BOOST_AUTO_TEST_CASE(one_rank_of_a_nested_launcher) {
  // mpirun or mpiexec -n 1 in a task of another launcher.
  BOOST_TEST(check(1, {{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMI_SIZE", "4"}, {"PMI_RANK", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}) == "");
  BOOST_TEST(check(1, {{"PMI_SIZE", "1"}, {"PMI_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "2"}}) == "");
  BOOST_TEST(check(1, {{"PMI_SIZE", "1"}, {"PALS_LOCAL_SIZE", "8"}, {"PALS_RANKID", "3"}}) == "");
  BOOST_TEST(check(1, {{"FLUX_JOB_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}) == "");
  // A single task in which mpirun started several: the farther launcher excuses nothing.
  check_throws<levin::ConfigError>(
      [] {
        check(1, {{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_STEP_NUM_TASKS", "1"}});
      },
      {"OMPI_COMM_WORLD_SIZE=4"});
  check_throws<levin::ConfigError>([] { check(1, {{"PMIX_RANK", "2"}, {"SLURM_STEP_NUM_TASKS", "1"}}); }, {"PMIX_RANK=2"});
}

BOOST_AUTO_TEST_CASE(shells_and_scripts_in_an_allocation) {
  // A batch script or salloc's shell: the allocation has four tasks, none was started.
  BOOST_TEST(check(1, {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}).find("the other tasks stay idle") !=
             std::string::npos);
  // Typed in the shell of srun -n 4 --pty, or of salloc's interactive step.
  const std::string other_pid = std::to_string(getpid() + 1), pid = std::to_string(getpid());
  BOOST_TEST(check(1, {{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PTY_PORT", "40001"}, {"SLURM_TASK_PID", other_pid}}) == "");
  BOOST_TEST(check(1, {{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_STEP_ID", "4294967290"}}) == "");
  BOOST_TEST(check(1, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PTY_PORT", "40001"}}) == "");
  // Started by srun --pty itself, it is a task.
  check_throws<levin::ConfigError>(
      [&] {
        check(1, {{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PTY_PORT", "40001"}, {"SLURM_TASK_PID", pid}});
      },
      {"SLURM_STEP_NUM_TASKS=4"});
}

BOOST_AUTO_TEST_CASE(who_started_the_program) {
  const auto variables = [](const Environment& environment) {
    return [environment](const char* name) {
      const auto found = environment.find(name);
      return found == environment.end() ? nullptr : found->second.c_str();
    };
  };
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "PALS_LOCAL_SIZE",
                           "PALS_RANKID", "FLUX_JOB_SIZE", "FLUX_TASK_RANK", "SLURM_STEP_NUM_TASKS"})
    BOOST_TEST(levin::started_by_launcher(variables({{name, "1"}})), name);
  BOOST_TEST(!levin::started_by_launcher(variables({})));
  BOOST_TEST(!levin::started_by_launcher(variables({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}})));                // a batch script
  BOOST_TEST(!levin::started_by_launcher(variables({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PTY_PORT", "40001"}})));  // a shell
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "PALS_RANKID", "FLUX_TASK_RANK", "SLURM_PROCID"})
    BOOST_TEST(levin::launcher_rank(variables({{name, "3"}})).value() == 3, name);
  BOOST_TEST(!levin::launcher_rank(variables({})));
  // mpirun inside a step of Slurm: its own numbers count.
  BOOST_TEST(levin::launcher_rank(variables({{"OMPI_COMM_WORLD_RANK", "1"}, {"SLURM_PROCID", "0"}})).value() == 1);
}

BOOST_AUTO_TEST_CASE(launchers_by_their_variables) {
  const auto described = [](const Environment& environment) {
    return levin::describe_launchers([&](const char* name) {
      const auto found = environment.find(name);
      return found == environment.end() ? nullptr : found->second.c_str();
    });
  };
  BOOST_TEST(described({}) == "");
  BOOST_TEST(described({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_STEP_NUM_TASKS", "2"}}) ==
             "mpirun of Open MPI (OMPI_COMM_WORLD_SIZE=4), srun (SLURM_STEP_NUM_TASKS=2)");
  BOOST_TEST(described({{"PMIX_RANK", "0"}}) == "a launcher with PMIx (PMIX_RANK=0)");
  BOOST_TEST(described({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}) == "");  // a batch script
  BOOST_TEST(!levin::mpi_library().empty());
}

BOOST_AUTO_TEST_CASE(fewer_ranks_than_tasks_is_a_warning) {
  BOOST_TEST(check(2, {{"SLURM_NTASKS", "8"}}).find("[cluster] 2 ranks on an allocation of 8 tasks") == 0u);
  BOOST_TEST(check(8, {{"SLURM_NTASKS", "8"}}) == "");
  BOOST_TEST(check(9, {{"SLURM_NTASKS", "8"}}) == "");
}

BOOST_AUTO_TEST_SUITE_END()
