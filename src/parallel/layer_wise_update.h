#pragma once
#include <functional>
#include <vector>

#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/flat_group.h"

namespace levin {

/// A part of a group that this rank updates.
struct GroupSlice {
  const FlatGroup* group;
  FlatGroup::Slice* slice;
};

/// One update by a rule that needs norms of whole parameters, on ranks that own parts of them. `parameters` is how many there are;
/// `sum_over_parts` adds up squares [2, parameters] over the ranks among whom a parameter is cut, if it is.
void update_layer_wise(const LayerWiseOptimizer& optimizer, const std::vector<GroupSlice>& slices, size_t parameters,
                       const std::function<SegmentOptions(const FlatGroup::Slice&)>& options,
                       const std::function<void(const Tensor& squares)>& sum_over_parts);

}  // namespace levin
