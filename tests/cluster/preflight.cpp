#include "levin/cluster/preflight.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <map>

#include "folder_of_ranks.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::IoError;
using levin::PlannedCheckpoints;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(cluster_preflight)

namespace {

struct StartedRanks {
  levin::Topology topology = levin::Topology::discover(runtime());
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  int rank = runtime().rank();
  bool first_of_other_host = topology.self().local_rank == 0 && rank != 0;

  void check(const fs::path& directory) const {
    levin::check_shared_directory(runtime(), topology, directory, "the run directory", "give another --run_dir");
  }
};

std::string value_of(const levin::RankStatus& status, const std::string& name) {
  for (const auto& [key, value] : status.must_be_equal)
    if (key == name) return value;
  return "none";
}

constexpr int64_t gigabyte = 1000000000;

PlannedCheckpoints plan(int64_t bytes, int64_t keep, int64_t found) { return {"/data/run/checkpoints", bytes, keep, found}; }

}  // namespace

BOOST_AUTO_TEST_CASE(ranks_of_a_program_are_alike) {
  levin::RankStatus status;
  levin::add_program_identity(runtime(), status);
  for (const char* name : {"program", "Levin", "LibTorch", "MPI", "HDF5"}) {
    BOOST_TEST(value_of(status, name) != "none", name);
    BOOST_TEST(value_of(status, name).find("0000000000000000") == std::string::npos, name);
  }
  BOOST_TEST(value_of(status, "LibTorch").find("(0 bytes)") == std::string::npos);
  const auto agreement = levin::check_same_on_all_ranks(runtime(), status);
  BOOST_TEST(agreement.good(), agreement.message);
  const auto again = [] {
    levin::RankStatus other;
    levin::add_program_identity(runtime(), other);
    return value_of(other, "program");
  };
  BOOST_TEST(again() == value_of(status, "program"));
}

BOOST_AUTO_TEST_CASE(a_shared_directory) {
  const StartedRanks ranks;
  const FolderOfRanks folder;
  ranks.check(folder.path);
  MPI_Barrier(runtime().communicator());
  BOOST_TEST(fs::is_empty(folder.path));  // the probe has gone
}

BOOST_AUTO_TEST_CASE(rank_0_cannot_write) {
  const StartedRanks ranks;
  const FolderOfRanks folder;
  check_throws<IoError>([&] { ranks.check(folder.path / "missing"); },
                        {"[cluster] the run directory", "missing: rank 0 on " + ranks.topology.locations()[0].host + " cannot write to it",
                         "No such file or directory", "give another --run_dir"});
  ranks.check(folder.path);  // all ranks have left the first check
}

BOOST_AUTO_TEST_CASE(a_directory_that_is_another_one_on_other_hosts) {
  const StartedRanks ranks;
  const FolderOfRanks folder, other;
  if (ranks.topology.hosts() == 1) return;
  const auto host = ranks.topology.locations().back().host;
  check_throws<IoError>([&] { ranks.check(ranks.first_of_other_host ? other.path : folder.path); },
                        {"the run directory " + folder.path.string() + ": host " + host + " cannot see a file that rank 0 on ",
                         "has written there", "give another --run_dir"});
  if (ranks.first_of_other_host) std::ofstream(other.path / "file") << "no directory";
  check_throws<IoError>([&] { ranks.check(ranks.first_of_other_host ? other.path / "file" : folder.path); },
                        {host + " cannot write to it: Not a directory"});
  ranks.check(folder.path);
  MPI_Barrier(runtime().communicator());
  BOOST_TEST(fs::is_empty(folder.path));
}

BOOST_AUTO_TEST_CASE(room_for_checkpoints) {
  const auto compare = levin::compare_checkpoint_space;
  BOOST_TEST(compare({}, 0) == "");
  BOOST_TEST(compare({plan(gigabyte, 2, 0)}, 3 * gigabyte) == "");
  const auto warning = compare({plan(gigabyte, 2, 0)}, 3 * gigabyte - 1);
  for (const char* part : {"/data/run/checkpoints", "3 GB are free", "the 3 checkpoints", "need 3 GB", "save_top_k", "--checkpoint_dir"})
    BOOST_TEST(warning.find(part) != std::string::npos, warning);
  // Those that a resumed run has are there already; one more is written before one is removed.
  BOOST_TEST(compare({plan(gigabyte, 2, 1)}, 2 * gigabyte) == "");
  BOOST_TEST(compare({plan(gigabyte, 2, 9)}, gigabyte) == "");
  BOOST_TEST(compare({plan(gigabyte, -1, 0)}, gigabyte) == "");  // how many, nobody knows
  BOOST_TEST(compare({plan(0, 2, 0)}, 0) == "");
  check_throws<IoError>([&] { compare({plan(gigabyte, 2, 9)}, gigabyte - 1); },
                        {"[cluster] /data/run/checkpoints", "are free, and a checkpoint needs 1 GB", "--checkpoint_dir"});
  // Two folders of a file system.
  BOOST_TEST(compare({plan(gigabyte, 2, 2), plan(gigabyte, 1, 0)}, 2 * gigabyte) != "");
  BOOST_CHECK_THROW(compare({plan(gigabyte, 2, 2), plan(gigabyte, 1, 0)}, 2 * gigabyte - 1), IoError);
}

BOOST_AUTO_TEST_CASE(room_on_a_real_file_system) {
  const StartedRanks ranks;
  const FolderOfRanks folder;
  BOOST_TEST(levin::check_checkpoint_space(*ranks.communicator, {{folder.path, 1, 2, 0}}) == "");
  // Only rank 0 knows what the folder holds.
  constexpr int64_t too_much = std::numeric_limits<int64_t>::max() / 8;
  check_throws<IoError>(
      [&] {
        levin::check_checkpoint_space(*ranks.communicator, {{folder.path, too_much, 2, ranks.rank == 0 ? 2 : 0}});
      },
      {"a checkpoint needs", folder.path.string()});
  BOOST_TEST(levin::check_checkpoint_space(*ranks.communicator, {{folder.path / "missing", too_much, 2, 0}}) == "");
  BOOST_TEST(levin::check_checkpoint_space(*ranks.communicator, {}) == "");
}

BOOST_AUTO_TEST_CASE(a_run_below_the_home_directory) {
  const FolderOfRanks folder;
  const auto home = (folder.path / "home").string();
  const levin::BatchJob job{.system = levin::BatchSystem::slurm, .id = "7"},
      shell{.system = levin::BatchSystem::slurm, .id = "7", .interactive = true};
  const auto warns = [&](const fs::path& directory, const levin::BatchJob& in, const char* value) {
    return !levin::home_warning(directory, in, [&](const char* name) { return std::string(name) == "HOME" ? value : nullptr; }).empty();
  };
  BOOST_TEST(warns(home + "/runs/0001", job, home.c_str()));
  BOOST_TEST(warns(home, job, home.c_str()));
  BOOST_TEST(!warns(home + "s/runs", job, home.c_str()));
  BOOST_TEST(!warns(folder.path, job, home.c_str()));
  BOOST_TEST(!warns(home + "/runs", shell, home.c_str()));
  BOOST_TEST(!warns(home + "/runs", {}, home.c_str()));
  for (const char* value : {static_cast<const char*>(nullptr), "", "/", "home"}) BOOST_TEST(!warns(home + "/runs", job, value));
}

BOOST_AUTO_TEST_CASE(the_checks_take_less_than_50_ms) {
  if (runtime().size() > 2) return;  // more ranks than the machine may have cores
  const StartedRanks ranks;
  const FolderOfRanks folder;
  double best = std::numeric_limits<double>::infinity();  // of several: other load matters little
  for (int i = 0; i < 5; i++) {
    MPI_Barrier(runtime().communicator());
    const auto began = std::chrono::steady_clock::now();
    levin::RankStatus status;
    levin::add_program_identity(runtime(), status);
    BOOST_TEST(levin::check_same_on_all_ranks(runtime(), status).good());
    ranks.check(folder.path);
    levin::check_checkpoint_space(*ranks.communicator, {{folder.path, 1, 2, 0}});
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  BOOST_TEST(best < 0.05);
}

BOOST_AUTO_TEST_SUITE_END()
