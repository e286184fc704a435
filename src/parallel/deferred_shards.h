#pragma once
#include <torch/nn/module.h>

#include <optional>
#include <unordered_map>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// Sharded initialisation: of each unit that is finished while a model is still being built, this rank keeps its shard, so that a model may
/// be larger than a rank's memory. The parameters' tensors have no memory until flat groups take them.
class DeferredShards {
 public:
  /// `ranks` build the same model with the same seed. Floating-point shards are kept in `dtype`; null: in their own.
  DeferredShards(Communicator& ranks, std::optional<at::ScalarType> dtype) : ranks_(ranks), dtype_(dtype) {}

  /// Shards the parameters of `unit` and frees their memory. Skips those that share memory with others, and those sharded before. Local.
  void shard(const torch::nn::Module& unit);
  bool has(const Tensor& parameter) const { return shards_.count(parameter.unsafeGetTensorImpl()) > 0; }
  at::ScalarType dtype_of(const Tensor& parameter) const;
  /// place <- the whole parameter, whose shard is then forgotten. Collective.
  void take(const Tensor& parameter, const Tensor& target);

 private:
  Communicator& ranks_;
  std::optional<at::ScalarType> dtype_;
  std::unordered_map<const void*, Tensor> shards_;  // by TensorImpl; padded to equal lengths
};

}  // namespace levin::detail
