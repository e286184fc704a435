// A plan's bytes against what the engine allocates, and its numbers against those made by hand.
#include "levin/plan/plan.h"

#include <ATen/ops/ones.h>

#include "../parallel/random_model.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/memory.h"
#include "levin/parallel/strategy.h"
#include "levin_test.h"
#include "planned_models.h"

using levin::ClusterConfig;
using levin::CollectiveOp;
using levin::MeshRole;
using levin::Plan;
using levin::PlanModel;
using levin::ShardingOptions;
using levin::ShareParameters;
using levin::Strategy;
using levin::StrategyConfig;
using levin::Tensor;
using levin::test::Gpt;
using levin::test::planned_configs;
using levin::test::RandomModel;
using enum levin::ShardingStrategy;

BOOST_AUTO_TEST_SUITE(plan_plan)

namespace {

constexpr int64_t micro_batches = 2;

// The peak of three steps with the state of AdamW.
template <class Model, class Make, class Loss, class Know>
void compare(levin::Communicator& communicator, const std::string& where, const StrategyConfig& config, const Make& make, const Loss& loss,
             const Know& know) {
  const auto strategy = Strategy::create(config, communicator);
  std::shared_ptr<Model> model;
  {
    const auto context = strategy->open_build_context();
    at::manual_seed(1);
    model = make();
  }
  levin::OptimizerSpec spec = levin::AdamW{.lr = 0.01};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  auto described = levin::describe_model(*model, {spec}, {}, strategy->plan().options.min_num_params);
  know(*model, described);
  strategy->setup(*model, {spec});
  for (int step = 0; step < 3; step++) {
    for (int64_t micro = 0; micro < micro_batches; micro++) {
      const Tensor value = loss(*model);
      if (micro + 1 == micro_batches) strategy->expect_step();
      strategy->backward(value, 1);
    }
    strategy->reduce(strategy->synchronize_step(0));
    strategy->update([](double lr) { return lr; });
    strategy->zero_grad();
  }
  const auto& node = communicator.node();
  const bool first = node->rank() == 0;
  levin::Ranks ranks{.all = communicator.size(), .ranks_per_node = node->size()};
  if (node->size() < communicator.size()) ranks.hosts = 2;
  const auto plan = levin::plan_memory(described, strategy->plan(), ranks, micro_batches);
  const auto planned = (first ? plan.first : plan.other).total(), measured = strategy->memory().peak();
  // What a random model does between its units decides on whether two are gathered at once.
  const double tolerance = std::is_same_v<Model, RandomModel> && ranks.hosts > 1 ? 0.15 : 0.05;
  BOOST_CHECK_MESSAGE(std::abs(static_cast<double>(planned - measured)) <= tolerance * static_cast<double>(measured),
                      where << " on " << communicator.size() << ": planned " << planned << ", measured " << measured);
  BOOST_TEST(measured > 0);
  communicator.barrier();
}

std::unique_ptr<levin::Communicator> world() { return levin::Communicator::create_cpu(levin::test::runtime()); }

// What a random model does not show by its modules.
void know(const RandomModel& model, PlanModel& described) {
  std::vector<int> unit_of_block;
  for (size_t i = 0; i < model.blocks.size(); i++) {
    const auto found = std::find_if(described.units.begin(), described.units.end(),
                                    [&](const auto& unit) { return unit.name == "block" + std::to_string(i); });
    unit_of_block.push_back(static_cast<int>(found - described.units.begin()));
  }
  for (const int call : model.calls) described.calls.push_back(unit_of_block[static_cast<size_t>(call)]);
  const auto called = [&](size_t block) {
    return std::find(model.calls.begin(), model.calls.end(), static_cast<int>(block)) != model.calls.end();
  };
  bool shared = false;
  for (size_t i = 0; i < model.blocks.size(); i++) shared = shared || (called(i) && model.blocks[i]->with_shared);
  for (size_t p = 0; p < described.parameters.size(); p++) {
    const auto& name = described.parameters[p].name;
    bool used = name == "shared" ? shared : !name.ends_with("unused");
    for (size_t i = 0; i < model.blocks.size(); i++)
      if (name.starts_with("block" + std::to_string(i) + ".") && !called(i)) used = false;
    if (!used) described.absent.push_back(static_cast<int>(p));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(peak_of_a_gpt) {
  const auto communicator = world();
  for (const bool checkpointed : {false, true})
    for (const auto& [name, config] : planned_configs(communicator->size()))
      compare<Gpt>(
          *communicator, name + (checkpointed ? ", checkpointed" : ""), config, [&] { return std::make_shared<Gpt>(6, checkpointed); },
          [](Gpt& model) { return model.loss(8); }, [](const Gpt&, PlanModel&) {});
}

BOOST_AUTO_TEST_CASE(peak_of_random_models) {
  const auto communicator = world();
  for (uint32_t seed = 1; seed <= 12; seed++)
    for (const auto& [name, config] : planned_configs(communicator->size())) {
      if (name.ends_with("half")) continue;  // its weights and inputs would have two dtypes
      compare<RandomModel>(
          *communicator, name + " of model " + std::to_string(seed), config, [&] { return std::make_shared<RandomModel>(seed); },
          [](RandomModel& model) {
            return model.loss(at::ones({3, model.width}, at::kDouble));
          },
          [](const RandomModel& model, PlanModel& described) { know(model, described); });
    }
}

// Two parameters of 100 and 10 elements in a unit, and one of 20 outside; AdamW. Elements are aligned to 16, groups to 64.
namespace {
PlanModel tiny() {
  PlanModel model;
  model.units.push_back({"block", 0, false});
  model.parameters = {
      {.name = "first", .numel = 20}, {.name = "block.weight", .numel = 100, .unit = 1}, {.name = "block.bias", .numel = 10, .unit = 1}};
  model.state_tensors = {2};
  return model;
}

Plan plan_of(const StrategyConfig& config, const ClusterConfig& cluster) {
  return levin::make_plan(tiny(), levin::resolve_strategy(config, levin::ranks_of(cluster)), cluster, {.flops = 780});
}

void check_memory(const Plan& plan, int64_t parameters, int64_t gradients, int64_t optimizer) {
  BOOST_TEST(plan.memory.first.parameters == parameters);
  BOOST_TEST(plan.memory.first.gradients == gradients);
  BOOST_TEST(plan.memory.first.optimizer == optimizer);
}

std::vector<std::pair<CollectiveOp, int64_t>> collectives_of(const Plan& plan) {
  std::vector<std::pair<CollectiveOp, int64_t>> found;
  for (const auto& collective : plan.collectives) found.emplace_back(collective.op, collective.bytes);
  return found;
}

using Expected = std::vector<std::pair<CollectiveOp, int64_t>>;
using enum CollectiveOp;
}  // namespace

BOOST_AUTO_TEST_CASE(bytes_by_hand) {
  const ClusterConfig node{.devices_per_node = 4};
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  auto pairs = own;
  pairs.shard_group_size = 2;
  // One group of 32 + 112 + 16 elements, padded to 192, 48 of them a rank's.
  check_memory(plan_of(levin::DDP{ShareParameters::none}, node), 768, 768, 1536);
  check_memory(plan_of(levin::DDP{}, node), 768, 768 + 192, 384);
  BOOST_TEST(plan_of(levin::DDP{}, node).memory.other.total() == 768 + 192 + 384);
  BOOST_TEST(plan_of(levin::DDP{}, node).memory.node(4) == 768 + 4 * (768 + 192 + 384));
  check_memory(plan_of(levin::Zero1{own}, node), 768, 768 + 192, 384);
  check_memory(plan_of(levin::Zero2{own}, node), 768, 192 + 768, 384);
  // The unit has 128 elements, the rest 64. At most the unit's are gathered while its gradients are not yet reduced.
  check_memory(plan_of(levin::FSDP{full_shard, own}, node), 256 + 128 + 512, 64 + 128 + 512, 384);
  check_memory(plan_of(levin::HSDP{pairs}, node), 256 + 256 + 512, 128 + 256 + 512, 768);
  const ClusterConfig alone;
  check_memory(plan_of(levin::SingleDevice{}, alone), 640, 640, 1280);  // no padding to ranks
}

BOOST_AUTO_TEST_CASE(collectives_by_hand) {
  const ClusterConfig node{.devices_per_node = 4}, two{.nodes = 2, .devices_per_node = 2};
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  BOOST_CHECK(collectives_of(plan_of(levin::SingleDevice{}, {})).empty());
  BOOST_CHECK(collectives_of(plan_of(levin::DDP{ShareParameters::none}, node)) == (Expected{{exchange, 160}, {all_reduce, 768}}));
  BOOST_CHECK(collectives_of(plan_of(levin::DDP{}, node)) == (Expected{{exchange, 160}, {read_peers, 768}, {barrier, 0}}));
  BOOST_CHECK(collectives_of(plan_of(levin::DDP{}, two)) == (Expected{{reduce_scatter, 768}, {exchange, 160}, {gather_shared, 768}}));
  BOOST_CHECK(collectives_of(plan_of(levin::Zero1{own}, node)) == (Expected{{exchange, 160}, {reduce_scatter, 768}, {all_gather, 768}}));
  BOOST_CHECK(collectives_of(plan_of(levin::Zero2{own}, node)) == (Expected{{reduce_scatter, 768}, {exchange, 160}, {all_gather, 768}}));
  BOOST_CHECK(
      collectives_of(plan_of(levin::FSDP{full_shard, own}, node)) ==
      (Expected{{all_gather, 512}, {all_gather, 512}, {reduce_scatter, 512}, {reduce_scatter, 256}, {exchange, 160}, {all_gather, 256}}));
  // A copy a node: the ranks of a node synchronize before all ranks do, and sums of halves go between the nodes during the backward.
  BOOST_CHECK(collectives_of(plan_of(levin::HSDP{own}, two)) == (Expected{{all_gather, 512},
                                                                          {all_gather, 512},
                                                                          {reduce_scatter, 512},
                                                                          {reduce_scatter, 256},
                                                                          {all_reduce, 256},
                                                                          {all_reduce, 128},
                                                                          {barrier, 0},
                                                                          {exchange, 160},
                                                                          {all_gather, 256}}));
  // Under a mixed precision the matrix of the unit travels in half the bytes, its bias by itself in fp32; sums are in fp32.
  auto model = tiny();
  model.parameters[2].dim = 1;
  const auto mixed = [&](const ShardingOptions& options) {
    const levin::FSDP fsdp{full_shard, options};
    return collectives_of(
        levin::make_plan(model, levin::resolve_strategy(fsdp, levin::ranks_of(node), c10::ScalarType::BFloat16), node, {.flops = 780}));
  };
  BOOST_CHECK(mixed(own) == (Expected{{all_gather, 256},
                                      {all_gather, 256},
                                      {all_gather, 256},
                                      {all_gather, 256},
                                      {reduce_scatter, 256},
                                      {reduce_scatter, 512},
                                      {reduce_scatter, 256},
                                      {exchange, 160},
                                      {all_gather, 256}}));
  auto wide = own;
  wide.param_dtype = levin::TransferDtype::float32;
  BOOST_CHECK(mixed(wide) == collectives_of(plan_of(levin::FSDP{full_shard, own}, node)));
}

BOOST_AUTO_TEST_CASE(seconds_by_hand) {
  ClusterConfig devices{.nodes = 4, .device_memory = levin::Bytes{1 << 30}};
  const levin::PlannedCollective sum{all_reduce, MeshRole::loss, 4 << 20, 4 << 20, true};
  constexpr double n = 4 << 20;
  // A ring: six messages of a quarter.
  BOOST_TEST(levin::collective_seconds(sum, {4, 1, 1}, devices) == 6 * (2e-6 + n / 4 / 12.5e9), boost::test_tools::tolerance(1e-12));
  // Two nodes, one rank each: one message to agree, half of it to and fro; all of it is read, and half of it written, to add up.
  const ClusterConfig nodes{.nodes = 2};
  BOOST_TEST(levin::collective_seconds(sum, {2, 1, 1}, nodes) == 3 * 2e-6 + 5 * 1e-6 + n / 12.5e9 + 1.5 * n / 20e9,
             boost::test_tools::tolerance(1e-12));
  // In a node no message: four ranks read and write all of it.
  BOOST_TEST(levin::collective_seconds(sum, {1, 4, 1}, nodes) == 2 * 1e-6 + 8 * n / 20e9, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(levin::collective_seconds(sum, {1, 1, 1}, nodes) == 0);
  // 780 operations of 1e11 a second; the update reads and writes 7 numbers for each of 160.
  const auto time = plan_of(levin::SingleDevice{}, {}).time;
  BOOST_TEST(time.compute_seconds == 780 / 1e11, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(time.update_seconds == 7 * 640 / 20e9, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(time.communication_seconds == 0);
}

BOOST_AUTO_TEST_CASE(the_fastest_that_fits) {
  const ClusterConfig node{.devices_per_node = 4};
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  const std::vector<Plan> plans{plan_of(levin::DDP{ShareParameters::none}, node), plan_of(levin::FSDP{full_shard, own}, node)};
  BOOST_TEST(plans[0].memory.node(4) == 4 * 3072);
  BOOST_TEST(plans[1].memory.node(4) == 4 * 1984);
  BOOST_TEST(levin::fastest_that_fits(plans, node, 4 * 3072) == &plans[0]);
  BOOST_TEST(levin::fastest_that_fits(plans, node, 4 * 3072 - 1) == &plans[1]);
  BOOST_TEST(levin::fastest_that_fits(plans, node, 4 * 3072, 1) == &plans[1]);
  BOOST_TEST(!levin::fastest_that_fits(plans, node, 4 * 1984 - 1));
  ClusterConfig devices{.devices_per_node = 4, .device_memory = levin::Bytes{1984}};
  BOOST_TEST(levin::fits(plans[1].memory, devices, 0));
  BOOST_TEST(!levin::fits(plans[0].memory, devices, 0));
  BOOST_TEST(levin::available_memory() > 0);
  BOOST_TEST(levin::bytes_text(1'250'000'000) == "1.25 GB");
}

BOOST_AUTO_TEST_SUITE_END()
