// A job for plan_test: a model of units, as large as one likes.
#include <ATen/ops/gelu.h>
#include <ATen/ops/mse_loss.h>
#include <torch/nn/modules/linear.h>

#include "levin/cli/run.h"
#include "levin/data/tensor_dataset.h"
#include "levin/nn/unit.h"

namespace {

using levin::Batch, levin::Tensor;

struct StackConfig {
  int64_t layers = 4, width = 64;
};
LEVIN_CONFIG(StackConfig, (layers, "blocks", at_least(0)), (width, "of a block", at_least(1)))

struct BlockImpl : levin::Unit<Tensor(Tensor)> {
  explicit BlockImpl(int64_t width) {
    up = register_module("up", torch::nn::Linear(width, 4 * width));
    down = register_module("down", torch::nn::Linear(4 * width, width));
  }
  Tensor compute(Tensor x) override { return x + down(at::gelu(up(x))); }
  torch::nn::Linear up{nullptr}, down{nullptr};
};
LEVIN_UNIT(Block);

class Stack : public levin::Module {
 public:
  using Config = StackConfig;
  explicit Stack(const StackConfig& config) {
    for (int64_t i = 0; i < config.layers; i++) blocks_.push_back(register_module("block" + std::to_string(i), Block(config.width)));
    last_ = register_module("last", torch::nn::Linear(config.width, 1));
  }
  Tensor training_step(const Batch& batch) override {
    Tensor x = batch["x"];
    for (auto& block : blocks_) x = block(x);
    return at::mse_loss(last_(x), batch["y"]);
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::AdamW{.lr = 0.01}}; }

 private:
  std::vector<Block> blocks_;
  torch::nn::Linear last_{nullptr};
};

// Its data must not be asked for.
struct NoData : levin::DataModule {
  NoData() = default;
  void prepare_data() override { throw std::runtime_error("the data were prepared"); }
};

}  // namespace

int main(int argc, char** argv) { return levin::cli::run<Stack, NoData>(argc, argv); }
