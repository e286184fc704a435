#include "layer_wise_update.h"

#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/optim/clip.h"

namespace levin {
namespace {

// This rank's part of one parameter, and of its direction.
struct Piece {
  int parameter;
  Tensor values, direction;
  double lr;
};

}  // namespace

void update_layer_wise(const LayerWiseOptimizer& optimizer, const std::vector<GroupSlice>& slices, size_t parameters,
                       const std::function<SegmentOptions(const FlatGroup::Slice&)>& options,
                       const std::function<void(const Tensor& squares)>& sum_over_shards) {
  std::vector<Piece> pieces;
  const Tensor squares = at::zeros({2, static_cast<int64_t>(parameters)}, at::kDouble);
  double* of_values = squares.mutable_data_ptr<double>();
  double* of_directions = of_values + parameters;
  for (const auto& [group, slice] : slices) {
    const auto [lr, weight_decay] = options(*slice);
    const Range whole = slice->segment.range;
    const Tensor direction = optimizer.direction(slice->parameters, slice->gradients, slice->state, weight_decay);
    for (const auto& [parameter, range] : group->layout().parameters) {
      const Range part = intersect(range, whole);
      if (part.size() == 0) continue;
      const auto cut = [&](const Tensor& tensor) { return tensor.narrow(0, part.begin - whole.begin, part.size()); };
      pieces.push_back({parameter, cut(slice->parameters), cut(direction), lr});
      of_values[parameter] += squared_norm(pieces.back().values);
      of_directions[parameter] += squared_norm(pieces.back().direction);
    }
  }
  sum_over_shards(squares);
  for (const auto& [parameter, values, direction, lr] : pieces)
    values.add_(direction, -lr * optimizer.factor(std::sqrt(of_values[parameter]), std::sqrt(of_directions[parameter])));
}

}  // namespace levin
