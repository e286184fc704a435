#include "levin/comm/topology.h"

#include <sched.h>

#include <locale>

#include "levin_test.h"

using levin::RankLocation;
using levin::Topology;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_topology)

BOOST_AUTO_TEST_CASE(one_host) {
  const auto topology = Topology::discover(runtime());
  BOOST_TEST(topology.hosts() == 1);
  BOOST_TEST(topology.local_size() == runtime().size());
  BOOST_TEST(topology.locations().size() == static_cast<size_t>(runtime().size()));
  for (int i = 0; i < runtime().size(); i++) {
    const auto& location = topology.locations()[static_cast<size_t>(i)];
    BOOST_TEST(location.rank == i);
    BOOST_TEST(location.local_rank == i);
    BOOST_TEST(location.host == topology.self().host);
    BOOST_TEST(!location.cores.empty());
  }
  BOOST_TEST(topology.self().rank == runtime().rank());
  BOOST_TEST(topology.describe().find(topology.self().host + ": rank") == 0u);
}

// Separators between thousands must not join the gathered numbers.
struct Spaced : std::numpunct<char> {
  char do_thousands_sep() const override { return ' '; }
  std::string do_grouping() const override { return "\3"; }
};

BOOST_AUTO_TEST_CASE(the_locale_changes_nothing) {
  const auto plain = Topology::discover(runtime());
  const auto before = std::locale::global(std::locale(std::locale::classic(), new Spaced));
  const auto spaced = Topology::discover(runtime());
  std::locale::global(before);
  BOOST_TEST(spaced.describe() == plain.describe());
}

BOOST_AUTO_TEST_CASE(a_bound_process_has_its_own_cores_only) {
  cpu_set_t before, single;
  BOOST_REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) first++;
  CPU_ZERO(&single);
  CPU_SET(first, &single);
  sched_setaffinity(0, sizeof(single), &single);
  const auto bound = Topology::discover(runtime());
  sched_setaffinity(0, sizeof(before), &before);
  BOOST_TEST(bound.self().cores.size() == 1u);
  BOOST_TEST(bound.self().numa_domain >= 0);
}

BOOST_AUTO_TEST_CASE(map_groups_equal_placements) {
  // Two hosts alike and one that is not, whose name is that of another.
  const Topology topology({{0, "n1", 0, 0, {0, 1, 2, 3}},
                           {1, "n1", 1, 0, {0, 1, 2, 3}},
                           {2, "n2", 0, 0, {0, 1, 2, 3}},
                           {3, "n2", 1, 0, {0, 1, 2, 3}},
                           {4, "n2", 0, -1, {0, 1, 2, 3, 8}}},
                          {0, 0, 2, 2, 4}, 3);
  BOOST_TEST(topology.hosts() == 3);
  BOOST_TEST(topology.local_size() == 2);
  BOOST_TEST(topology.describe() ==
             "2 hosts, n1 to n2: ranks 0-3; local ranks 0-1 on cores 0-3, NUMA domain 0\n"
             "n2: rank 4; local rank 0 on cores 0-3, 8, several NUMA domains\n");
}

BOOST_AUTO_TEST_SUITE_END()
