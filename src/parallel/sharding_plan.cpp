#include "levin/parallel/sharding_plan.h"

#include <fmt/format.h>

#include "levin/core/error.h"

namespace levin {
namespace {

struct Named {
  std::string name;
  ShardingOptions options;
};

Named of_fsdp(ShardingStrategy sharding, const ShardingOptions& options) {
  switch (sharding) {
    case ShardingStrategy::shard_grad_op: return {"zero2", options};
    case ShardingStrategy::no_shard: return {"ddp", options};
    case ShardingStrategy::hybrid_shard: return {"hsdp", options};
    default: return {"fsdp", options};
  }
}

Named named(const AutoStrategy&) { return {"ddp", {}}; }
Named named(const SingleDevice&) { return {"single_device", {}}; }
Named named(const DDP& ddp) { return {"ddp", {.share_parameters = ddp.share_parameters}}; }
Named named(const Zero1& zero) { return {"zero1", zero.sharding}; }
Named named(const Zero2& zero) { return {"zero2", zero.sharding}; }
Named named(const Zero1Offload& zero) { return {"zero1", zero.sharding}; }
Named named(const Zero2Offload& zero) { return {"zero2", zero.sharding}; }
Named named(const FSDP& fsdp) { return of_fsdp(fsdp.sharding_strategy, fsdp.sharding); }
Named named(const FSDPOffload& fsdp) { return of_fsdp(fsdp.sharding_strategy, fsdp.sharding); }
Named named(const HSDP& hsdp) { return {"hsdp", hsdp.sharding}; }

Placements private_placements(const std::string& name) {
  using enum Placement;
  if (name == "zero1") return {replicated, replicated, sharded};
  if (name == "zero2") return {replicated, sharded, sharded};
  if (name == "fsdp" || name == "hsdp") return {sharded, sharded, sharded};
  return {};
}

int group_size(const ShardingOptions& options, const Ranks& ranks) {
  if (!options.shard_group_size) {
    if (ranks.ranks_per_node > 0) return ranks.ranks_per_node;
    throw ConfigError(fmt::format("hsdp: the {} hosts have different numbers of ranks, so they hold no equal copies", ranks.hosts),
                      "give shard_group_size, start as many ranks on every host, or use fsdp", "parallel");
  }
  const auto size = *options.shard_group_size;
  if (ranks.all % size != 0)
    throw ConfigError(fmt::format("shard_group_size is {}, which does not divide {} ranks", size, ranks.all),
                      "give a divisor of the number of ranks", "parallel");
  return static_cast<int>(size);
}

}  // namespace

Ranks ranks_of(const MeshLayout& mesh, bool share_memory) {
  const int model = mesh.extent(MeshAxis::pp) * mesh.extent(MeshAxis::tp);
  return {.all = mesh.size() / model,
          .hosts = mesh.nodes(),
          .ranks_per_node = mesh.ranks_per_node() % model == 0 ? mesh.ranks_per_node() / model : 0,
          .share_memory = share_memory};
}

Placements ShardingPlan::of_unit(int unit) const noexcept {
  Placements placed = placements;
  if (unit == 0 && by_unit()) placed.parameters = placed.gathered_per_node ? Placement::node_shared : Placement::replicated;
  return placed;
}

void ShardingPlan::make_private(const Ranks& among) {
  placements = private_placements(name);
  shard_ranks = among.all == 1 ? 1 : name == "hsdp" ? group_size(options, among) : among.all;
}

std::string ShardingPlan::describe() const {
  if (ranks == 1) return name == "single_device" ? name : name + ", alone";
  const std::string domain = options.share_parameters == ShareParameters::numa ? "NUMA domain" : "node";
  if (placements.parameters == Placement::node_shared) return name + ", one copy of the parameters a " + domain;
  if (name == "ddp") return "ddp, a private copy of the parameters a rank";
  if (name == "zero1") return "zero1, a private copy of the parameters a rank, the optimizer's state in parts";
  if (name == "zero2") return "zero2, a private copy of the parameters a rank, gradients and the optimizer's state in parts";
  if (name == "hsdp") return fmt::format("hsdp, one copy of the parameters in parts on each {} ranks", shard_ranks);
  return "fsdp, one copy of the parameters in parts on all ranks" +
         (placements.gathered_per_node ? ", gathered once a " + domain : std::string());
}

ShareParameters share_parameters_of(const StrategyConfig& config) {
  return std::visit([](const auto& strategy) { return named(strategy).options.share_parameters; }, config);
}

ShardingPlan resolve_strategy(const StrategyConfig& config, const Ranks& ranks, std::optional<c10::ScalarType> autocast_dtype) {
  ShardingPlan plan;
  plan.autocast_dtype = autocast_dtype;
  auto chosen = std::visit([](const auto& strategy) { return named(strategy); }, config);
  plan.name = chosen.name, plan.options = chosen.options, plan.ranks = ranks.all;
  if (plan.name == "single_device" && ranks.all > 1)
    throw ConfigError(fmt::format("strategy single_device on {} ranks", ranks.all), "start one rank, or use --trainer.strategy ddp",
                      "parallel");
  const auto share = plan.options.share_parameters;
  const bool must = must_share(share);
  if (must && !ranks.share_memory)
    throw ConfigError(fmt::format("share_parameters: {}, but this accelerator's ranks share no memory", enum_name(share)),
                      "use share_parameters: auto", "parallel");
  if (ranks.all == 1) {
    if (std::holds_alternative<AutoStrategy>(config)) plan.name = "single_device";
    return plan;
  }
  const bool groups_of_nodes =
      plan.name != "hsdp" || !plan.options.shard_group_size || *plan.options.shard_group_size == ranks.ranks_per_node;
  const std::string domain = share == ShareParameters::numa ? "NUMA domain" : "host";
  if (must && !groups_of_nodes)
    throw ConfigError(
        fmt::format("share_parameters: {} with hsdp, which holds parts of a copy on other groups than {}s", enum_name(share), domain),
        fmt::format("use a copy a {}, or share_parameters: auto", domain), "parallel");
  if (share == ShareParameters::none || !ranks.share_memory || !groups_of_nodes) {
    plan.make_private(ranks);
    return plan;
  }
  plan.shard_ranks = ranks.all;
  // On one node a shared copy takes less memory than shards and an unsharded unit, and needs no all-gather; across nodes it is a replica.
  if (plan.name == "fsdp" && ranks.hosts > 1)
    plan.placements = {Placement::sharded, Placement::sharded, Placement::sharded, /*gathered_per_node=*/true};
  else
    plan.placements = {Placement::node_shared, Placement::replicated, Placement::sharded};
  return plan;
}

}  // namespace levin
