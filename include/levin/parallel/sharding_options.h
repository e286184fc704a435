#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"

namespace levin {

/// How far one copy of the parameters is shared between ranks on CPUs.
enum class ShareParameters {
  automatic,  ///< node where shared memory has room, else none, with a warning
  node,       ///< one copy a node; an error where shared memory has no room
  numa,       ///< one copy a NUMA domain, which are then to each other what nodes are; the same error
  none        ///< a private copy a rank
};
LEVIN_ENUM(ShareParameters, (automatic, "auto"), (node, "node"), (numa, "numa"), (none, "none"))

/// A dtype on the way between ranks, or of the copy that is computed with.
enum class TransferDtype { float32, bfloat16, float16 };
LEVIN_ENUM(TransferDtype, (float32, "float32"), (bfloat16, "bfloat16"), (float16, "float16"))

/// Options of zero1, zero2, fsdp and hsdp.
struct ShardingOptions {
  ShareParameters share_parameters = ShareParameters::automatic;
  int64_t min_num_params = 0;  ///< elements; a smaller unit belongs to its parent
  bool reshard_after_forward = true;
  int64_t prefetch = 1;                          ///< units unsharded ahead of their use
  int64_t limit_all_gathers = 2;                 ///< all-gathers in flight at once
  std::optional<int64_t> shard_group_size = {};  ///< ranks that hold one copy together (hsdp); null: those of a host
  bool reduce_every_backward = true;
  /// Of all-gathers and compute. Null: of matrices the compute dtype of a mixed precision, else the parameters' own.
  std::optional<TransferDtype> param_dtype = {};
  std::optional<TransferDtype> reduce_dtype = {};  ///< of reductions; null: the gradients'
  bool offload_parameters = false;
  bool offload_optimizer = false;
};
LEVIN_CONFIG(ShardingOptions, (share_parameters, "how far ranks on CPUs share one copy of the parameters"),
             (min_num_params, "a unit with fewer parameters belongs to the unit around it", at_least(0)),
             (reshard_after_forward, "drop a unit's gathered parameters between its forward and its backward"),
             (prefetch, "units that are gathered ahead, between hosts and devices", at_least(0)),
             (limit_all_gathers, "gathers that are under way at once, at most", at_least(1)),
             (shard_group_size, "of hsdp: ranks that hold one copy together; null: those of a host", at_least(1)),
             (reduce_every_backward,
              "sharded gradients are reduced in every backward of an accumulation; false: in the last one, and whole until then"),
             (param_dtype,
              "dtype that units are gathered and computed in; null: of matrices that of a mixed precision, else the parameters'"),
             (reduce_dtype, "dtype that gradients are summed in between ranks; null: their own"),
             (offload_parameters, "keep this rank's part of the parameters in host memory"),
             (offload_optimizer, "keep the optimizer's state in host memory, and update there"))

}  // namespace levin
