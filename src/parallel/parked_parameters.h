#pragma once
#include <torch/nn/module.h>

#include <optional>
#include <unordered_map>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// The parameters of units that are finished while a model is still being built: of each this rank keeps its part, so that a model may be
/// larger than a rank's memory. Their tensors have no memory until flat groups take them.
class ParkedParameters {
 public:
  /// Ranks that build the same model with the same seed; floating-point parts are kept in `dtype`.
  ParkedParameters(Communicator& ranks, std::optional<at::ScalarType> dtype) : ranks_(ranks), dtype_(dtype) {}

  /// What has memory of its own in `unit`, and is not parked already.
  void park(const torch::nn::Module& unit);
  bool has(const Tensor& parameter) const { return parts_.count(parameter.unsafeGetTensorImpl()) > 0; }
  at::ScalarType dtype_of(const Tensor& parameter) const;
  /// place <- the whole parameter, which is parked no longer. Collective.
  void take(const Tensor& parameter, const Tensor& place);

 private:
  Communicator& ranks_;
  std::optional<at::ScalarType> dtype_;
  std::unordered_map<const void*, Tensor> parts_;  // by TensorImpl; padded to equal lengths
};

}  // namespace levin::detail
