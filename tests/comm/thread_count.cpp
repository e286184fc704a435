#include "levin/comm/thread_count.h"

#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin_test.h"

using levin::choose_threads;
using levin::Topology;

BOOST_AUTO_TEST_SUITE(comm_thread_count)

namespace {

levin::GetVariable environment(const char* omp_num_threads) {
  return [=](const char* name) { return std::string(name) == "OMP_NUM_THREADS" ? omp_num_threads : nullptr; };
}

// `ranks` ranks of one host that may all run on the same four cores.
Topology sharing_four_cores(int ranks) {
  std::vector<levin::RankLocation> locations;
  for (int rank = 0; rank < ranks; rank++) locations.push_back({.rank = rank, .host = "a", .local_rank = rank, .cores = {0, 1, 2, 3}});
  return {locations, std::vector<int>(static_cast<size_t>(ranks), 0), 0};
}

}  // namespace

BOOST_AUTO_TEST_CASE(an_option_ranks_above_the_environment_and_that_above_the_cores) {
  const auto option = choose_threads(3, sharing_four_cores(1), environment("2"));
  BOOST_TEST(option.threads == 3);
  BOOST_TEST(option.reason == "num_threads");
  const auto variable = choose_threads(0, sharing_four_cores(1), environment("2"));
  BOOST_TEST(variable.threads == 2);
  BOOST_TEST(variable.reason == "OMP_NUM_THREADS=2");
  BOOST_TEST(choose_threads(0, sharing_four_cores(1), environment("8")).threads == 8);
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    const auto share = choose_threads(0, sharing_four_cores(2), environment(unset));
    BOOST_TEST(share.threads == 2);
    BOOST_TEST(share.reason == "4 cores for 2 ranks");
  }
  BOOST_TEST(choose_threads(0, sharing_four_cores(9), environment(nullptr)).threads == 1);
}

BOOST_AUTO_TEST_CASE(slurm_says_how_many_processors_a_task_has) {
  const auto in_slurm = [](const char* cpus, const char* omp_num_threads) {
    return [=](const char* name) -> const char* {
      if (std::string(name) == "SLURM_CPUS_PER_TASK") return cpus;
      return std::string(name) == "OMP_NUM_THREADS" ? omp_num_threads : nullptr;
    };
  };
  const auto unbound = choose_threads(0, sharing_four_cores(1), in_slurm("3", nullptr));
  BOOST_TEST(unbound.threads == 3);
  BOOST_TEST(unbound.reason == "SLURM_CPUS_PER_TASK=3");
  const auto hardware_threads = choose_threads(0, sharing_four_cores(1), in_slurm("8", ""));
  BOOST_TEST(hardware_threads.threads == 4);
  BOOST_TEST(hardware_threads.reason == "SLURM_CPUS_PER_TASK=8 on 4 cores");
  BOOST_TEST(choose_threads(0, sharing_four_cores(1), in_slurm("3", "2")).threads == 2);
  BOOST_TEST(choose_threads(1, sharing_four_cores(1), in_slurm("3", nullptr)).threads == 1);
  for (const char* invalid : {"", "0", "-1", "x"})
    BOOST_TEST(choose_threads(0, sharing_four_cores(2), in_slurm(invalid, nullptr)).threads == 2);
}

BOOST_AUTO_TEST_CASE(of_a_list_the_outermost_level_counts) {
  BOOST_TEST(levin::threads_of_environment(environment("4,2,1")).value() == 4);
  BOOST_TEST(!levin::threads_of_environment(environment(nullptr)));
}

BOOST_AUTO_TEST_CASE(other_values_are_refused) {
  for (const char* value : {"0", "-1", "four", "2x", " 2", "1.5", ",2", "99999999999"})
    levin::test::check_throws<levin::ConfigError>([&] { choose_threads(0, sharing_four_cores(1), environment(value)); },
                                                  {"OMP_NUM_THREADS=\"" + std::string(value) + "\"", "positive integer"});
  BOOST_TEST(choose_threads(2, sharing_four_cores(1), environment("four")).threads == 2);
}

BOOST_AUTO_TEST_SUITE_END()
