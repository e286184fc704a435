#pragma once
#include <variant>

#include "levin/core/config.h"
#include "levin/parallel/sharding_options.h"

namespace levin {

/// single on one rank; on several the first of ddp, zero1, zero2 and fsdp.
struct AutoStrategy {};
LEVIN_CONFIG(AutoStrategy)
LEVIN_CHOICE(AutoStrategy, "auto")

/// One rank, nothing shared.
struct SingleDevice {};
LEVIN_CONFIG(SingleDevice)
LEVIN_CHOICE(SingleDevice, "single_device", "single")

/// Data parallelism: every rank computes on its own samples, gradients are averaged. Parameters without a gradient are always found.
struct DDP {
  ShareParameters share_parameters = ShareParameters::automatic;
};
LEVIN_CONFIG(DDP, (share_parameters, "how far ranks on CPUs share one copy of the parameters"))
// Lightning's names say how ranks start and whether unused parameters are found: mpirun or srun starts them, and they always are.
LEVIN_CHOICE(DDP, "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "ddp_spawn",
             "ddp_spawn_find_unused_parameters_false", "ddp_spawn_find_unused_parameters_true", "ddp_fork",
             "ddp_fork_find_unused_parameters_false", "ddp_fork_find_unused_parameters_true", "ddp_notebook",
             "ddp_notebook_find_unused_parameters_false", "ddp_notebook_find_unused_parameters_true")

/// Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020: the optimizer's state is sharded.
struct Zero1 {
  ShardingOptions sharding;
};
LEVIN_CONFIG(Zero1, (sharding, "", flattened))
LEVIN_CHOICE(Zero1, "zero1", "deepspeed_stage_1")

/// Gradients are sharded, too.
struct Zero2 {
  ShardingOptions sharding;
};
LEVIN_CONFIG(Zero2, (sharding, "", flattened))
LEVIN_CHOICE(Zero2, "zero2", "deepspeed_stage_2", "deepspeed")

/// The sharding strategies of PyTorch's FullyShardedDataParallel.
enum class ShardingStrategy { full_shard, shard_grad_op, no_shard, hybrid_shard };
LEVIN_ENUM(ShardingStrategy, (full_shard, "FULL_SHARD"), (shard_grad_op, "SHARD_GRAD_OP"), (no_shard, "NO_SHARD"),
           (hybrid_shard, "HYBRID_SHARD"))

/// Parameters are sharded, too, and gathered around each unit's forward and backward.
struct FSDP {
  ShardingStrategy sharding_strategy = ShardingStrategy::full_shard;
  ShardingOptions sharding;
};
LEVIN_CONFIG(FSDP, (sharding_strategy, "FULL_SHARD; SHARD_GRAD_OP is zero2, NO_SHARD is ddp, HYBRID_SHARD is hsdp"),
             (sharding, "", flattened))
LEVIN_CHOICE(FSDP, "fsdp", "deepspeed_stage_3", "zero3")

/// Sharded inside a group of ranks, replicated across the groups.
struct HSDP {
  ShardingOptions sharding;
};
LEVIN_CONFIG(HSDP, (sharding, "", flattened))
LEVIN_CHOICE(HSDP, "hsdp")

// The forms with offload by name, as Lightning has them.
struct Zero1Offload {
  ShardingOptions sharding{.offload_optimizer = true};
};
LEVIN_CONFIG(Zero1Offload, (sharding, "", flattened))
LEVIN_CHOICE(Zero1Offload, "zero1_offload", "deepspeed_stage_1_offload")

struct Zero2Offload {
  ShardingOptions sharding{.offload_optimizer = true};
};
LEVIN_CONFIG(Zero2Offload, (sharding, "", flattened))
LEVIN_CHOICE(Zero2Offload, "zero2_offload", "deepspeed_stage_2_offload")

struct FSDPOffload {
  ShardingStrategy sharding_strategy = ShardingStrategy::full_shard;
  ShardingOptions sharding{.offload_parameters = true, .offload_optimizer = true};
};
LEVIN_CONFIG(FSDPOffload, (sharding_strategy, "as of fsdp"), (sharding, "", flattened))
LEVIN_CHOICE(FSDPOffload, "fsdp_cpu_offload", "deepspeed_stage_3_offload")

using StrategyConfig = std::variant<AutoStrategy, SingleDevice, DDP, Zero1, Zero2, FSDP, HSDP, Zero1Offload, Zero2Offload, FSDPOffload>;

}  // namespace levin
