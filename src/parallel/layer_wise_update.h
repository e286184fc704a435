#pragma once
#include <functional>
#include <vector>

#include "flat_group.h"
#include "levin/optim/optimizer_spec.h"

namespace levin {

/// A part of a group's shard that is updated.
struct GroupSlice {
  const FlatGroup* group;
  FlatGroup::Slice* slice;
};

/// One update by an optimizer that needs norms of whole parameters, on ranks that hold shards of them. `parameters`: the number of the
/// model's parameters. `sum_over_shards`, collective, adds up squares [2, parameters] on `device` over the ranks among whom parameters are
/// sharded; `device` is that of the slices of all ranks, or the CPU where they are on several. `skip`: see FlatOptimizer::step_unless;
/// undefined: not skipped.
void update_layer_wise(const LayerWiseOptimizer& optimizer, const std::vector<GroupSlice>& slices, size_t parameters, at::Device device,
                       const std::function<ParameterGroupOptions(const FlatGroup::Slice&)>& options,
                       const std::function<void(const Tensor& squares)>& sum_over_shards, const Tensor& skip);

}  // namespace levin
