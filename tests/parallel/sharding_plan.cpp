#include "levin/parallel/sharding_plan.h"

#include "levin/core/config.h"
#include "levin/core/error.h"
#include "levin_test.h"

using levin::Placement;
using levin::ShardingPlan;
using levin::StrategyConfig;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(parallel_sharding_plan)

namespace {

StrategyConfig named(const std::string& name) {
  StrategyConfig config;
  levin::read_config(config, levin::ConfigValue::scalar(name));
  return config;
}

constexpr levin::Ranks one_node{.all = 4, .hosts = 1, .ranks_per_node = 4, .share_memory = true},
    two_nodes{.all = 4, .hosts = 2, .ranks_per_node = 2}, uneven{.all = 3, .hosts = 2, .ranks_per_node = 0},
    devices{.all = 4, .hosts = 2, .ranks_per_node = 2, .share_memory = false};

bool shares_parameters(const ShardingPlan& plan) { return plan.placements.parameters == Placement::node_shared; }

ShardingPlan private_plan(levin::FSDP fsdp, const levin::Ranks& ranks) {
  fsdp.sharding.share_parameters = levin::ShareParameters::none;
  return levin::resolve_strategy(fsdp, ranks);
}

}  // namespace

BOOST_AUTO_TEST_CASE(lightnings_names_are_known) {
  const std::vector<std::pair<std::string, std::string>> names{{"ddp", "ddp"},
                                                               {"ddp_find_unused_parameters_true", "ddp"},
                                                               {"ddp_find_unused_parameters_false", "ddp"},
                                                               {"ddp_spawn", "ddp"},
                                                               {"ddp_fork_find_unused_parameters_true", "ddp"},
                                                               {"ddp_notebook_find_unused_parameters_false", "ddp"},
                                                               {"zero1", "zero1"},
                                                               {"deepspeed_stage_1", "zero1"},
                                                               {"deepspeed_stage_1_offload", "zero1"},
                                                               {"deepspeed", "zero2"},
                                                               {"zero2", "zero2"},
                                                               {"deepspeed_stage_2", "zero2"},
                                                               {"deepspeed_stage_2_offload", "zero2"},
                                                               {"fsdp", "fsdp"},
                                                               {"zero3", "fsdp"},
                                                               {"deepspeed_stage_3", "fsdp"},
                                                               {"deepspeed_stage_3_offload", "fsdp"},
                                                               {"fsdp_cpu_offload", "fsdp"},
                                                               {"hsdp", "hsdp"},
                                                               {"auto", "ddp"}};
  for (const auto& [name, ours] : names) {
    const ShardingPlan plan = levin::resolve_strategy(named(name), one_node);
    BOOST_TEST(plan.name == ours, name << " is " << plan.name);
    BOOST_TEST(plan.options.offload_optimizer == (name.find("offload") != std::string::npos));
    BOOST_TEST(plan.options.offload_parameters == (ours == "fsdp" && name.find("offload") != std::string::npos));
  }
  check_throws<levin::ConfigError>([] { named("fdsp"); }, {"fdsp", "fsdp"});
  check_throws<levin::ConfigError>([] { levin::resolve_strategy(named("single_device"), one_node); }, {"single_device on 4 ranks"});
}

BOOST_AUTO_TEST_CASE(sharding_strategies_are_strategies) {
  using enum levin::ShardingStrategy;
  for (const auto& [sharding, name] : std::vector<std::pair<levin::ShardingStrategy, std::string>>{
           {full_shard, "fsdp"}, {shard_grad_op, "zero2"}, {no_shard, "ddp"}, {hybrid_shard, "hsdp"}})
    BOOST_TEST(levin::resolve_strategy(levin::FSDP{.sharding_strategy = sharding, .sharding = {}}, one_node).name == name);
}

BOOST_AUTO_TEST_CASE(a_node_has_one_copy) {
  for (const char* name : {"ddp", "zero1", "zero2", "fsdp", "hsdp"}) {
    BOOST_TEST(shares_parameters(levin::resolve_strategy(named(name), one_node)));
    BOOST_TEST(shares_parameters(levin::resolve_strategy(named(name), two_nodes)) == (std::string(name) != "fsdp"));
    BOOST_TEST(!shares_parameters(levin::resolve_strategy(named(name), devices)));
  }
  BOOST_TEST(shares_parameters(levin::resolve_strategy(named("hsdp"), uneven)));
  BOOST_TEST(levin::resolve_strategy(named("hsdp"), devices).shard_ranks == 2);
  const ShardingPlan parts = levin::resolve_strategy(named("fsdp"), uneven);
  BOOST_TEST(parts.placements.gathered_per_node);
  BOOST_TEST((parts.of_unit(0).parameters == Placement::node_shared));
  BOOST_TEST((parts.of_unit(1).parameters == Placement::sharded));
  BOOST_TEST(parts.describe() == "fsdp, one copy of the parameters in parts on all ranks, gathered once a node");
  const ShardingPlan alone = levin::resolve_strategy(named("fsdp"), {});
  BOOST_TEST((alone.placements == levin::Placements{}));
  BOOST_TEST(alone.describe() == "fsdp, alone");
}

BOOST_AUTO_TEST_CASE(private_plans) {
  const ShardingPlan fsdp = private_plan({}, two_nodes);
  BOOST_TEST(fsdp.by_unit());
  BOOST_TEST(fsdp.shard_ranks == 4);
  BOOST_TEST(!fsdp.placements.gathered_per_node);
  BOOST_TEST((fsdp.of_unit(0).parameters == Placement::replicated));
  BOOST_TEST((fsdp.of_unit(1).parameters == Placement::sharded));
  levin::FSDP hybrid{.sharding_strategy = levin::ShardingStrategy::hybrid_shard, .sharding = {}};
  BOOST_TEST(private_plan(hybrid, two_nodes).shard_ranks == 2);
  check_throws<levin::ConfigError>([&] { private_plan(hybrid, uneven); }, {"different numbers of ranks", "shard_group_size"});
  hybrid.sharding.shard_group_size = 1;
  BOOST_TEST(private_plan(hybrid, uneven).shard_ranks == 1);
  hybrid.sharding.shard_group_size = 2;
  check_throws<levin::ConfigError>([&] { private_plan(hybrid, uneven); }, {"shard_group_size is 2", "3 ranks"});
  hybrid.sharding = {.share_parameters = levin::ShareParameters::node, .shard_group_size = 1};
  check_throws<levin::ConfigError>([&] { levin::resolve_strategy(hybrid, two_nodes); },
                                   {"share_parameters: node with hsdp", "other groups than hosts"});
  const levin::FSDP node{.sharding = {.share_parameters = levin::ShareParameters::node}};
  BOOST_TEST(levin::resolve_strategy(node, two_nodes).placements.gathered_per_node);
  check_throws<levin::ConfigError>([&] { levin::resolve_strategy(node, devices); }, {"share no memory"});
}

BOOST_AUTO_TEST_SUITE_END()
