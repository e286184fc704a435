#pragma once
#include <torch/nn/modules/linear.h>

#include <random>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/nn/unit.h"

namespace levin::test {

/// A model of parts in any combination, the same for the same seed: units that are called twice, checkpointed, frozen, partly frozen,
/// unused, with nested units and several outputs, and a weight that several of them share. float64.
struct RandomModel : torch::nn::Module {
  explicit RandomModel(uint32_t seed);
  /// Of samples [n, width].
  Tensor loss(const Tensor& x);

  struct InnerImpl : Unit<Tensor(Tensor)> {
    explicit InnerImpl(int64_t width);
    Tensor compute(Tensor x) override;
    torch::nn::Linear linear{nullptr};
  };
  LEVIN_UNIT(Inner);

  struct BlockImpl : Unit<std::tuple<Tensor, std::optional<Tensor>, Tensor>(const Tensor&, double)> {
    BlockImpl(int64_t width, std::mt19937& random, const Tensor& shared);
    std::tuple<Tensor, std::optional<Tensor>, Tensor> compute(const Tensor& x, double scale) override;
    torch::nn::Linear up{nullptr}, down{nullptr};
    Inner inner{nullptr};
    Tensor shared, unused;
    bool with_inner, with_side, with_shared, with_dropout;
  };
  LEVIN_UNIT(Block);

  int64_t width;
  std::vector<Block> blocks;
  std::vector<int> calls;  // indices into blocks
  torch::nn::Linear first{nullptr}, last{nullptr};
  Tensor shared;
};

}  // namespace levin::test
