#include "levin/comm/mesh.h"

#include <ATen/ops/full.h>

#include "levin_test.h"

using levin::Mesh;
using levin::MeshAxis;
using levin::MeshGroup;
using levin::MeshLayout;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_mesh)

namespace {

using Ranks = std::vector<int>;

// Two nodes of two ranks, as mpirun --map-by slot and --map-by node place them.
const Ranks by_slot{0, 0, 1, 1}, by_node{0, 1, 0, 1};

}  // namespace

BOOST_AUTO_TEST_CASE(without_model_parallel_axes_all_ranks_have_different_samples) {
  const MeshLayout mesh(by_node);
  for (int rank = 0; rank < 4; rank++) {
    BOOST_TEST(mesh.data(rank).members == (Ranks{0, 1, 2, 3}));
    BOOST_TEST(mesh.data(rank).index == rank);
    BOOST_TEST(mesh.loss(rank).members == (Ranks{0, 1, 2, 3}));
    BOOST_TEST(mesh.replicas(rank).members == (Ranks{0, 1, 2, 3}));
    BOOST_TEST(mesh.shards(rank).members == Ranks{rank});
    BOOST_TEST(mesh.seed_rank(rank) == rank);
  }
  BOOST_TEST(mesh.nodes() == 2);
  BOOST_TEST(mesh.ranks_per_node() == 2);
  BOOST_TEST(MeshLayout({7, 7, 3}).ranks_per_node() == 0);
}

BOOST_AUTO_TEST_CASE(shards_of_a_copy_stay_inside_a_node_however_ranks_are_placed) {
  const auto slots = MeshLayout(by_slot).sharded_over(2), nodes = MeshLayout(by_node).sharded_over(2);
  BOOST_TEST(slots.shards(0).members == (Ranks{0, 1}));
  BOOST_TEST(slots.shards(3).members == (Ranks{2, 3}));
  BOOST_TEST(slots.replicas(1).members == (Ranks{1, 3}));
  BOOST_TEST(nodes.shards(0).members == (Ranks{0, 2}));
  BOOST_TEST(nodes.shards(3).members == (Ranks{1, 3}));
  BOOST_TEST(nodes.shards(3).index == 1);
  BOOST_TEST(nodes.replicas(0).members == (Ranks{0, 1}));
  for (const auto* mesh : {&slots, &nodes}) {
    for (int rank = 0; rank < 4; rank++) {
      BOOST_TEST(mesh->data(rank).index == rank);  // who shards with whom does not move samples
      for (const int other : mesh->shards(rank).members) BOOST_TEST(mesh->node_of(other) == mesh->node_of(rank));
      for (const int other : mesh->replicas(rank).members) BOOST_TEST(mesh->shards(other).index == mesh->shards(rank).index);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_tensor_parallel_group_is_inside_a_node_and_shares_samples_and_seeds) {
  for (const Ranks& placement : {by_slot, by_node, Ranks{0, 1, 1, 0}}) {
    const MeshLayout mesh(placement, {.tp = 2});
    Ranks samples(2);
    for (int rank = 0; rank < 4; rank++) {
      const auto peers = mesh.group({MeshAxis::tp}, rank);
      BOOST_TEST(peers.size() == 2);
      for (const int peer : peers.members) {
        BOOST_TEST(mesh.node_of(peer) == mesh.node_of(rank));
        BOOST_TEST(mesh.data(peer).index == mesh.data(rank).index);
        BOOST_TEST(mesh.seed_rank(peer) == mesh.seed_rank(rank));
      }
      BOOST_TEST(mesh.data(rank).size() == 2);
      samples[static_cast<size_t>(mesh.data(rank).index)]++;
      BOOST_TEST(mesh.loss(rank).members == mesh.data(rank).members);
    }
    BOOST_TEST(samples == (Ranks{2, 2}));
  }
  const MeshLayout stages(by_slot, {.pp = 2});
  BOOST_TEST(stages.group({MeshAxis::pp}, 0).members == (Ranks{0, 2}));
  BOOST_TEST(stages.data(0).members == (Ranks{0, 1}));
  BOOST_TEST(stages.seed_rank(2) == 2);
}

BOOST_AUTO_TEST_CASE(context_parallel_ranks_share_samples_and_sum_losses) {
  const MeshLayout mesh(by_slot, {.cp = 2});
  BOOST_TEST(mesh.data(1).index == mesh.data(0).index);
  BOOST_TEST(mesh.data(3).members == (Ranks{1, 3}));
  BOOST_TEST(mesh.loss(3).members == (Ranks{0, 1, 2, 3}));
  BOOST_TEST(mesh.seed_rank(1) == 1);
  BOOST_TEST(mesh.sharded_over(4).shards(0).members == (Ranks{0, 1, 2, 3}));
  check_throws<levin::ConfigError>([&] { mesh.sharded_over(1); }, {"sharded over 1", "multiple of cp, 2"});
}

BOOST_AUTO_TEST_CASE(extents_divide_the_ranks) {
  check_throws<levin::ConfigError>([] { MeshLayout(by_slot, {.tp = 3}); }, {"tp 3 on 4 ranks"});
  check_throws<levin::ConfigError>([] { MeshLayout(by_slot, {.tp = 0}); }, {"tp 0"});
  check_throws<levin::ConfigError>([] { MeshLayout(by_slot).sharded_over(3); }, {"sharded over 3 ranks", "divisor of 4"});
  check_throws<levin::ConfigError>([] { MeshLayout(by_slot).sharded_over(0); }, {"over 0 ranks"});
}

BOOST_AUTO_TEST_CASE(a_described_cluster_has_the_same_layout) {
  const auto mesh = MeshLayout::of_cluster(2, 2);
  for (int rank = 0; rank < 4; rank++) BOOST_TEST(mesh.node_of(rank) == by_slot[static_cast<size_t>(rank)]);
}

// The groups' communicators, on whatever ranks and hosts the test runs.
BOOST_AUTO_TEST_CASE(groups_communicate) {
  const auto world = levin::Communicator::create_cpu(runtime());
  Mesh mesh(*world);
  BOOST_TEST(&mesh.data_communicator() == world.get());
  BOOST_TEST(mesh.shard_communicator() == nullptr);
  const auto sum_over = [&](levin::Communicator& communicator) {
    const auto sum = at::full({1}, 1 << world->rank(), at::kLong);
    communicator.all_reduce(sum).wait();
    return sum.item<int64_t>();
  };
  const auto bits = [](const MeshGroup& group) {
    int64_t sum = 0;
    for (const int member : group.members) sum += int64_t{1} << member;
    return sum;
  };
  for (const int shards : {world->size(), 1, world->size() % 2 == 0 ? 2 : 1}) {
    mesh.shard_over(shards);
    BOOST_TEST(mesh.shards().size() == shards);
    BOOST_TEST(sum_over(*mesh.shard_communicator()) == bits(mesh.shards()));
    BOOST_TEST(mesh.shard_communicator()->rank() == mesh.shards().index);
    if (mesh.replicas().size() > 1) BOOST_TEST(sum_over(*mesh.replica_communicator()) == bits(mesh.replicas()));
    if (mesh.layout().ranks_per_node() == shards)
      for (const int member : mesh.shards().members) BOOST_TEST(mesh.layout().node_of(member) == mesh.layout().node_of(mesh.rank()));
  }
  if (world->size() % 2 != 0) return;
  const Mesh pairs(*world, {.tp = 2});
  BOOST_TEST(sum_over(pairs.data_communicator()) == bits(pairs.data()));
  BOOST_TEST(pairs.data_communicator().rank() == pairs.data().index);
}

BOOST_AUTO_TEST_SUITE_END()
