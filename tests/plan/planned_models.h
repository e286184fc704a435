#pragma once
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <utility>
#include <vector>

#include "levin/nn/unit.h"
#include "levin/parallel/strategy_config.h"

namespace levin::test {

struct GptBlockImpl : Unit<Tensor(Tensor)> {
  explicit GptBlockImpl(int64_t width) {
    up = register_module("up", torch::nn::Linear(width, 4 * width));
    down = register_module("down", torch::nn::Linear(4 * width, width));
  }
  Tensor compute(Tensor x) override { return x + down(at::gelu(up(x.to(up->weight.scalar_type())))); }
  torch::nn::Linear up{nullptr}, down{nullptr};
};
LEVIN_UNIT(GptBlock);

// Shaped as a GPT: an embedding and a head outside of the blocks.
struct Gpt : torch::nn::Module {
  explicit Gpt(int64_t layers, bool checkpointed = false) {
    embedding = register_module("embedding", torch::nn::Embedding(512, width));
    for (int64_t i = 0; i < layers; i++) {
      blocks.push_back(register_module("block" + std::to_string(i), GptBlock(width)));
      if (checkpointed) blocks.back()->checkpoint_activations(ActivationCheckpointing::units);
    }
    head = register_module("head", torch::nn::Linear(width, 32));
  }
  Tensor loss(int64_t samples) {
    Tensor x = embedding(at::arange(samples, at::kLong));
    for (auto& block : blocks) x = block(x);
    return head(x).pow(2).mean();
  }
  static constexpr int64_t width = 48;
  torch::nn::Embedding embedding{nullptr};
  std::vector<GptBlock> blocks;
  torch::nn::Linear head{nullptr};
};

// Strategies, and options that change what a step does, for these ranks.
inline std::vector<std::pair<std::string, StrategyConfig>> planned_configs(int ranks) {
  using enum ShardingStrategy;
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  auto kept = own, late = own, large = own, groups = own, half = own;
  kept.reshard_after_forward = false;
  late.reduce_every_backward = false;
  large.min_num_params = 200;
  groups.shard_group_size = ranks % 2 == 0 ? ranks / 2 : 1;
  half.param_dtype = TransferDtype::bfloat16;
  return {{"ddp, shared", DDP{}},
          {"ddp", DDP{ShareParameters::none}},
          {"zero1, shared", Zero1{}},
          {"zero1", Zero1{own}},
          {"zero2", Zero2{own}},
          {"zero2, late", Zero2{late}},
          {"fsdp", FSDP{full_shard, own}},
          {"fsdp, kept", FSDP{full_shard, kept}},
          {"fsdp, late", FSDP{full_shard, late}},
          {"fsdp, large units", FSDP{full_shard, large}},
          {"fsdp, half", FSDP{full_shard, half}},
          {"fsdp, shared", FSDP{}},
          {"fsdp, shared, half", FSDP{full_shard, {.param_dtype = TransferDtype::bfloat16}}},
          {"hsdp", HSDP{groups}}};
}

}  // namespace levin::test
