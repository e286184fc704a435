// The time of a step (forward, backward, SGD) of a model that Python exported, one thread a rank. KIND is mlp or gpt, FILE its archive by
// peers/exported_models.py.
//   exported hand KIND FILE     and of the same model written in C++, in turn in one process
//   exported alone KIND FILE    by itself; peers/exported_step.py takes the same steps in eager PyTorch
//   exported ddp FILE STEPS     a ResNet in a Trainer on all ranks, 32 images a rank; peers/exported_ddp.py does the same with PyTorch DDP
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <fmt/core.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/number_text.h"
#include "levin/data/tensor_dataset.h"
#include "levin/exported/exported_model.h"
#include "levin/exported/exported_program.h"
#include "levin/trainer/trainer.h"
#include "timing.h"

namespace {

using levin::Batch, levin::Tensor;

constexpr int blocks = 30;
constexpr double learning_rate = 0.01;

struct Model : torch::nn::Module {
  virtual Tensor loss(const Batch& batch) = 0;
};

struct Mlp : Model {
  Mlp() : first(register_module("first", torch::nn::Linear(784, 16))), last(register_module("last", torch::nn::Linear(16, 10))) {}
  Tensor loss(const Batch& batch) override { return at::cross_entropy_loss(last(at::relu(first(batch["x"]))), batch["label"]); }
  torch::nn::Linear first, last;
};

struct GptBlock : torch::nn::Module {
  explicit GptBlock(int64_t width)
      : attention_norm(register_module("attention_norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        mlp_norm(register_module("mlp_norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        qkv(register_module("qkv", torch::nn::Linear(width, 3 * width))),
        projection(register_module("projection", torch::nn::Linear(width, width))),
        up(register_module("up", torch::nn::Linear(width, 4 * width))),
        down(register_module("down", torch::nn::Linear(4 * width, width))) {}
  Tensor forward(Tensor x) {
    const auto samples = x.size(0), length = x.size(1), width = x.size(2);
    std::vector<Tensor> parts = qkv(attention_norm(x)).chunk(3, -1);
    for (auto& part : parts) part = part.view({samples, length, 4, -1}).transpose(1, 2);
    const Tensor attended = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, /*is_causal=*/true);
    x = x + projection(attended.transpose(1, 2).reshape({samples, length, width}));
    return x + down(at::gelu(up(mlp_norm(x))));
  }
  torch::nn::LayerNorm attention_norm, mlp_norm;
  torch::nn::Linear qkv, projection, up, down;
};

struct Gpt : Model {
  Gpt()
      : tokens(register_module("tokens", torch::nn::Embedding(64, 48))),
        positions(register_module("positions", torch::nn::Embedding(16, 48))),
        norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({48})))),
        head(register_module("head", torch::nn::Linear(torch::nn::LinearOptions(48, 64).bias(false)))) {
    for (int i = 0; i < 3; i++) layers.push_back(register_module("layer" + std::to_string(i), std::make_shared<GptBlock>(48)));
  }
  Tensor loss(const Batch& batch) override {
    Tensor x = tokens(batch["tokens"]) + positions(at::arange(batch["tokens"].size(1)));
    for (const auto& layer : layers) x = layer->forward(x);
    return at::cross_entropy_loss(head(norm(x)).flatten(0, 1), batch["targets"].flatten());
  }
  torch::nn::Embedding tokens, positions;
  torch::nn::LayerNorm norm;
  torch::nn::Linear head;
  std::vector<std::shared_ptr<GptBlock>> layers;
};

struct Kind {
  std::string name;
  Batch batch;
  std::function<std::shared_ptr<Model>()> by_hand;
  int steps;  // of a block
};

Kind kind_of(const std::string& name) {
  if (name == "mlp")
    return {"MLP 784-16-10, batch 64", Batch{{"x", at::rand({64, 784})}, {"label", at::randint(10, {64}, at::kLong)}},
            [] { return std::make_shared<Mlp>(); }, 200};
  return {"GPT, 3 layers of width 48, 8 x 16 tokens",
          Batch{{"tokens", at::randint(64, {8, 16}, at::kLong)}, {"targets", at::randint(64, {8, 16}, at::kLong)}},
          [] { return std::make_shared<Gpt>(); }, 50};
}

// Each parameter by itself, as torch.optim.SGD does it on a CPU.
void take_step(const Tensor& loss, std::vector<Tensor>& parameters) {
  loss.backward();
  const at::NoGradGuard no_grad;
  for (auto& parameter : parameters) {
    parameter.add_(parameter.grad(), -learning_rate);
    parameter.mutable_grad().reset();
  }
}

double block_us(int steps, std::vector<Tensor>& parameters, const std::function<Tensor()>& loss) {
  const double began = now_us();
  for (int step = 0; step < steps; step++) take_step(loss(), parameters);
  return (now_us() - began) / steps;
}

void measure(const std::string& name, const std::string& file, bool against_hand) {
  at::manual_seed(1);
  const Kind kind = kind_of(name);
  levin::ExportedProgram program(file, std::vector<std::string>{});
  auto parameters = program.parameters();
  const auto exported_loss = [&] { return program.forward(kind.batch).at("loss"); };
  const auto hand = kind.by_hand();
  auto hand_parameters = hand->parameters();
  const auto hand_loss = [&] { return hand->loss(kind.batch); };
  int64_t ours_count = 0, theirs_count = 0;
  for (const auto& parameter : parameters) ours_count += parameter.numel();
  for (const auto& parameter : hand_parameters) theirs_count += parameter.numel();
  if (ours_count != theirs_count) throw std::runtime_error(fmt::format("{} parameters, and {} by hand", ours_count, theirs_count));
  std::vector<double> ours, theirs;
  for (int block = -3; block < blocks; block++) {
    const double mine = block_us(kind.steps, parameters, exported_loss);
    const double other = against_hand ? block_us(kind.steps, hand_parameters, hand_loss) : 1;
    if (block < 0) continue;
    ours.push_back(mine), theirs.push_back(other);
  }
  against_hand ? print_pairs(kind.name, ours, theirs) : print_value(kind.name, median(ours));
}

struct Images : levin::DataModule {
  levin::DataLoaderSpec train_dataloader() override {
    levin::DataLoaderSpec spec;
    spec.dataset = std::make_shared<levin::TensorDataset>(
        levin::TensorDataset{{"x", at::rand({2048, 3, 32, 32})}, {"label", at::randint(10, {2048}, at::kLong)}});
    spec.options.batch_size = 32;
    return spec;
  }
};

void ddp(const std::string& file, int64_t steps) {
  levin::MpiRuntime mpi;
  levin::TrainerConfig config;
  config.max_steps = steps + 10;
  config.max_epochs = -1;
  config.enable_progress_bar = config.enable_model_summary = config.enable_checkpointing = false;
  config.logger = false;
  levin::Trainer trainer(config, mpi);
  const auto clock = std::make_shared<StepClock>(10);
  trainer.add_callback(clock);
  levin::ExportedModelConfig model;
  model.file = file;
  Images data;
  trainer.fit(*trainer.build<levin::ExportedModel>(model), data);
  if (mpi.rank() == 0)
    print_value(fmt::format("ResNet of 3 stages, 32 images of 32 x 32 a rank, {} ranks", mpi.size()), clock->us_per_step());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  at::set_num_threads(1);
  if ((mode == "hand" || mode == "alone") && argc == 4) {
    measure(argv[2], argv[3], mode == "hand");
  } else if (mode == "ddp" && argc == 4) {
    ddp(argv[2], levin::parse_number<int64_t>(argv[3]).value());
  } else {
    fmt::print(stderr, "exported hand KIND FILE | alone KIND FILE | ddp FILE STEPS\n");
    return 78;
  }
}
