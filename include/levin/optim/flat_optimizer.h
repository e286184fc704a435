#pragma once
#include <memory>
#include <string>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/optim/optimizer.h"

namespace levin {

/// Optimizer state of one flat slice of parameters: tensors of the slice's shape under FlatOptimizer::state_names().
struct OptimizerState {
  std::vector<Tensor> tensors;
  Tensor step;         ///< number of updates so far, fp32, a scalar in host memory
  Tensor device_step;  ///< the same on the parameters' device, where that is another
};

/// A slice, and with what it is to be updated.
struct SliceUpdate {
  const Tensor &parameters, &gradients;
  OptimizerState& state;
  double lr, weight_decay;
  Tensor device_lr = {};  ///< `lr` as an fp32 number [] on the slice's device, which fused rules read there; undefined: on the host
};

/// An update rule for flat slices: one fused ATen call a slice where there is one. It knows no names and no ranks.
class FlatOptimizer {
 public:
  static std::unique_ptr<FlatOptimizer> create(const OptimizerConfig& config);
  virtual ~FlatOptimizer() = default;

  virtual std::vector<std::string> state_names() const = 0;
  /// Zeroed state for a slice.
  OptimizerState make_state(const Tensor& parameters) const;
  /// Updates `parameters` [n] in place from `gradients` [n] (the mean over the step), both of one dtype; in fp16 and bf16 the state is of
  /// that dtype, too, and the arithmetic is fp32's.
  virtual void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const = 0;
  /// Updates slices that do not overlap; those on a device together, where a launch can take several.
  virtual void step_all(const std::vector<SliceUpdate>& slices) const;
  /// step_all of slices on a device, which changes nothing where `skip` [], fp32 and on that device, is 1 instead of 0. The host does not
  /// read it and counts the update in OptimizerState::step; uncount it when the skip is known, before the next update. Rules without a
  /// fused call that skips copy one slice and its state at a time.
  virtual void step_unless(const Tensor& skip, const std::vector<SliceUpdate>& slices) const;
};

/// An optimizer whose step length depends on norms of each whole parameter. A slice may hold parts of several
/// parameters, so the update has two halves: direction, then step_along; the caller computes the norms in between.
class LayerWiseOptimizer : public FlatOptimizer {
 public:
  /// The update direction of a slice [n], to be scaled by -lr and the factors; fp32 for slices in fp16 and bf16. Advances the state.
  virtual Tensor direction(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double weight_decay) const = 0;
  /// The same on a device; zeros where `skip` is 1, and the state stays as it is. See step_unless.
  Tensor direction_unless(const Tensor& skip, const Tensor& parameters, const Tensor& gradients, OptimizerState& state,
                          double weight_decay) const;
  /// The factors of parameters with these norms of them and of their directions, all float64 [n] on one device. Does not synchronize.
  virtual Tensor factors(const Tensor& parameter_norms, const Tensor& direction_norms) const = 0;
  /// parameters -= lr * factor * direction, with a factor without dimensions. Does not synchronize with a device.
  static void step_along(const Tensor& direction, const Tensor& parameters, double lr, const Tensor& factor);
  /// Takes the slice for one whole parameter.
  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const final;
};

}  // namespace levin
