#include "../../src/trainer/prepare_data.h"

#include <unistd.h>

#include "levin/core/error.h"
#include "levin_test.h"
#include "toy.h"

using levin::test::runtime;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(trainer_prepare_data)

namespace {

// Each rank is a host of its own.
levin::Topology a_rank_a_host() {
  std::vector<levin::RankLocation> locations;
  std::vector<int> leaders;
  for (int rank = 0; rank < runtime().size(); rank++) {
    locations.push_back({rank, "host" + std::to_string(rank), 0, 0, {}});
    leaders.push_back(rank);
  }
  return {locations, leaders, runtime().rank()};
}

struct Data : levin::DataModule {
  void prepare_data() override { prepared++; }
  std::optional<bool> prepare_data_per_node() const override { return per_node; }
  fs::path prepare_data_directory() const override { return directory; }
  int prepared = 0;
  std::optional<bool> per_node;
  fs::path directory;
};

struct Directory {
  explicit Directory(const std::string& name) : path(fs::temp_directory_path() / name) { fs::create_directories(path); }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

// All ranks may meet in setup.
struct Knowing : levin::test::ToyData {
  void setup(levin::Stage) override { ranks = ranks_of_the_run(); }
  int ranks_of_the_run() const { return trainer().session().size(); }
  int ranks = 0;
};

int prepared(Data data) {
  const auto communicator = levin::Communicator::create_cpu(runtime());
  levin::prepare_data(data, a_rank_a_host(), *communicator);
  levin::prepare_data(data, a_rank_a_host(), *communicator);  // once in the object's life
  communicator->barrier();
  return data.prepared;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_module_may_choose_the_ranks) {
  Data data;
  data.per_node = true;
  BOOST_TEST(prepared(data) == 1);
  data.per_node = false;
  BOOST_TEST(prepared(data) == (runtime().rank() == 0 ? 1 : 0));
  data.per_node.reset();  // and no directory
  BOOST_TEST(prepared(data) == (runtime().rank() == 0 ? 1 : 0));
}

BOOST_AUTO_TEST_CASE(hosts_that_share_the_directory_prepare_once) {
  const Directory directory("levin_prepare_shared");
  Data data;
  data.directory = directory.path / "made" / "by the probe";
  BOOST_TEST(prepared(data) == (runtime().rank() == 0 ? 1 : 0));
  if (runtime().size() > 1 && runtime().rank() == 0) BOOST_TEST(fs::is_empty(data.directory));  // the probe is gone
  levin::Communicator::create_cpu(runtime())->barrier();
}

BOOST_AUTO_TEST_CASE(hosts_that_do_not_share_it_prepare_each) {
  const Directory directory("levin_prepare_" + std::to_string(getpid()));  // a path that the other ranks have not
  Data data;
  data.directory = directory.path;
  BOOST_TEST(prepared(data) == 1);
}

BOOST_AUTO_TEST_CASE(the_first_rank_of_each_host_prepares) {
  Data data;
  data.per_node = true;
  const auto communicator = levin::Communicator::create_cpu(runtime());
  const auto topology = levin::Topology::discover(runtime());
  levin::prepare_data(data, topology, *communicator);
  BOOST_TEST(data.prepared == (topology.self().local_rank == 0 ? 1 : 0));
}

BOOST_AUTO_TEST_CASE(the_data_know_the_trainer_of_their_run) {
  Knowing data;
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  const auto module = trainer.build<levin::test::Toy>();
  const auto outside = [&] {
    levin::test::check_throws<levin::UsageError>([&] { data.ranks_of_the_run(); }, {"the data module is not in a run"});
  };
  outside();
  trainer.fit(*module, data);
  BOOST_TEST(data.ranks == runtime().size());
  outside();
}

BOOST_AUTO_TEST_SUITE_END()
