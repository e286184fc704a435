#include "layer_wise_update.h"

#include <ATen/ops/hypot.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "levin/optim/clip.h"

namespace levin {
namespace {

// This rank's part of one parameter, and of its direction.
struct Piece {
  int parameter;
  Tensor values, direction;
  double lr;
};

// Waits for the device of one that is not in host memory.
double squared_norm_on_host(const Tensor& values) {
  return values.is_cpu() ? squared_norm(values) : squared_norm(std::vector<Tensor>{values}).item<double>();
}

// The sums of squares of parameters (row 0) and directions (row 1), [2, parameters], on `device`. A rank may have no piece.
Tensor squares_of(const std::vector<Piece>& pieces, size_t parameters, at::Device device) {
  if (device.is_cpu()) {
    Tensor squares = at::zeros({2, static_cast<int64_t>(parameters)}, at::kDouble);
    double* sums = squares.mutable_data_ptr<double>();
    for (const auto& piece : pieces) {
      sums[piece.parameter] += squared_norm_on_host(piece.values);
      sums[parameters + static_cast<size_t>(piece.parameter)] += squared_norm_on_host(piece.direction);
    }
    return squares;
  }
  std::vector<Tensor> norms(2 * parameters);
  const auto add = [](Tensor& sum, const Tensor& values) {
    const Tensor norm = at::linalg_vector_norm(values, 2, std::nullopt, false, at::kDouble);
    sum = sum.defined() ? at::hypot(sum, norm) : norm;
  };
  for (const auto& piece : pieces) {
    const auto parameter = static_cast<size_t>(piece.parameter);
    add(norms[parameter], piece.values);
    add(norms[parameters + parameter], piece.direction);
  }
  const Tensor none = at::zeros({}, at::TensorOptions(device).dtype(at::kDouble));
  for (auto& norm : norms)
    if (!norm.defined()) norm = none;
  return at::stack(norms).square_().view({2, static_cast<int64_t>(parameters)});
}

}  // namespace

void update_layer_wise(const LayerWiseOptimizer& optimizer, const std::vector<GroupSlice>& slices, size_t parameters, at::Device device,
                       const std::function<ParameterGroupOptions(const FlatGroup::Slice&)>& options,
                       const std::function<void(const Tensor& squares)>& sum_over_shards, const Tensor& skip) {
  std::vector<Piece> pieces;
  for (const auto& [group, slice] : slices) {
    const auto [lr, weight_decay] = options(*slice);
    const Range whole = slice->group_range.range;
    auto& [group_range, values, gradients, state] = *slice;
    const Tensor direction = skip.defined() ? optimizer.direction_unless(skip, values, gradients, state, weight_decay)
                                            : optimizer.direction(values, gradients, state, weight_decay);
    for (const auto& [parameter, range] : group->layout().parameters) {
      const Range part = intersect(range, whole);
      if (part.size() == 0) continue;
      const auto cut = [&](const Tensor& tensor) { return tensor.narrow(0, part.begin - whole.begin, part.size()); };
      pieces.push_back({parameter, cut(values), cut(direction), lr});
    }
  }
  const Tensor squares = squares_of(pieces, parameters, device);
  sum_over_shards(squares);
  const Tensor factors = optimizer.factors(squares[0].sqrt(), squares[1].sqrt());
  for (const auto& [parameter, values, direction, lr] : pieces) LayerWiseOptimizer::step_along(direction, values, lr, factors[parameter]);
}

}  // namespace levin
