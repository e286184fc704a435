// A job whose author makes a mistake, one of many, on one rank or on all; mistakes_test has the expected reports.
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sin.h>
#include <mpi.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <cstdlib>
#include <cstring>

#include "levin/cli/run.h"
#include "levin/data/tensor_dataset.h"
#include "levin/data/transform_dataset.h"
#include "levin/nn/unit.h"

namespace {

using levin::Batch, levin::Tensor;

enum class Mistake {
  none,
  product,
  product_in_unit,
  null_pointer,
  null_pointer_in_unit,
  divide,
  terminate,
  recursion,
  abort,
  heap,
  hook,
  moved,
  assigned,
  assigned_constant,
  replaced,
  other_shape,
  other_name,
  constructor,
  reader,
  reader_crash
};
LEVIN_ENUM(Mistake, (none, "none"), (product, "product"), (product_in_unit, "product_in_unit"), (null_pointer, "null_pointer"),
           (null_pointer_in_unit, "null_pointer_in_unit"), (divide, "divide"), (terminate, "terminate"), (recursion, "recursion"),
           (abort, "abort"), (heap, "heap"), (hook, "hook"), (moved, "moved"), (assigned, "assigned"),
           (assigned_constant, "assigned_constant"), (replaced, "replaced"), (other_shape, "other_shape"), (other_name, "other_name"),
           (constructor, "constructor"), (reader, "reader"), (reader_crash, "reader_crash"))

struct MistakenConfig {
  Mistake mistake = Mistake::none;
  int64_t on_rank = -1;
};
LEVIN_CONFIG(MistakenConfig, (mistake, "what goes wrong"), (on_rank, "on which rank; -1: on all"))

bool on_this_rank(const MistakenConfig& config) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return config.on_rank < 0 || config.on_rank == rank;
}

Tensor wrong_product() { return at::matmul(at::ones({784, 10}), at::ones({128, 10})).sum(); }

int64_t* volatile nowhere = nullptr;
volatile int64_t zero = 0;
int64_t read_the_null_pointer() { return *nowhere; }
int64_t recurse(int64_t depth) {
  if (depth < 0) return 0;
  volatile char room[1024];
  room[0] = static_cast<char>(depth);
  return recurse(depth + 1) + room[0];
}
void throw_it() { throw std::runtime_error("thrown where none may be"); }
void throw_where_none_may() noexcept { throw_it(); }
// Corrupts malloc's bookkeeping; malloc then aborts with its own lock held.
void overwrite_the_heap() {
  auto* volatile memory = static_cast<char*>(std::malloc(2000));
  auto* volatile next = static_cast<char*>(std::malloc(2000));
  std::memset(const_cast<char*>(memory), 0x5a, 2016);
  std::free(const_cast<char*>(next));
  std::free(const_cast<char*>(memory));
}

struct BlockImpl : levin::Unit<Tensor(Tensor)> {
  BlockImpl(int64_t in, int64_t out) : linear(register_module("linear", torch::nn::Linear(in, out))) {}
  Tensor compute(Tensor x) override {
    if (mistake == Mistake::product_in_unit) return wrong_product();
    if (mistake == Mistake::null_pointer_in_unit) read_the_null_pointer();
    return linear(x);
  }
  Mistake mistake = Mistake::none;
  torch::nn::Linear linear;
};
LEVIN_UNIT(Block);

class Mistaken : public levin::Module {
 public:
  using Config = MistakenConfig;
  explicit Mistaken(const MistakenConfig& config) : mistake_(on_this_rank(config) ? config.mistake : Mistake::none) {
    if (mistake_ == Mistake::constructor) read_the_null_pointer();
    const int64_t width = mistake_ == Mistake::other_shape ? 6 : 5;
    second_ = Block(width, 4);
    body_ = register_module("body", torch::nn::Sequential(Block(4, width), second_));
    net_ = register_module(mistake_ == Mistake::other_name ? "next" : "net", torch::nn::Linear(4, 1));
  }

  Tensor training_step(const Batch& batch) override {
    if (steps_++ == 2) err();
    return at::mse_loss(net_(body_->forward(batch["x"])), batch["y"]);
  }
  void on_before_optimizer_step(std::string_view) override {
    if (mistake_ == Mistake::hook) batch_named("z");
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = 0.01}}; }

 private:
  static Tensor batch_named(const char* name) { return Batch()[name]; }

  void err() {
    switch (mistake_) {
      case Mistake::product: wrong_product(); break;
      case Mistake::product_in_unit:
      case Mistake::null_pointer_in_unit: second_->mistake = mistake_; break;
      case Mistake::null_pointer: read_the_null_pointer(); break;
      case Mistake::divide: zero = 7 / zero; break;
      case Mistake::terminate: throw_where_none_may(); break;
      case Mistake::recursion: recurse(0); break;
      case Mistake::abort: std::abort();
      case Mistake::heap: overwrite_the_heap(); break;
      case Mistake::moved: net_->weight.set_data(at::ones({1, 4})); break;
      case Mistake::assigned: net_->weight = at::ones({1, 4}).requires_grad_(); break;
      case Mistake::assigned_constant: net_->weight = at::ones({1, 4}); break;
      case Mistake::replaced: net_ = replace_module("net", torch::nn::Linear(4, 1)); break;
      default: break;
    }
  }

  Mistake mistake_;
  int64_t steps_ = 0;
  Block second_{nullptr};
  torch::nn::Sequential body_;
  torch::nn::Linear net_{nullptr};
};

class MistakenData : public levin::DataModule {
 public:
  using Config = MistakenConfig;
  explicit MistakenData(const MistakenConfig& config) : mistake_(on_this_rank(config) ? config.mistake : Mistake::none) {}
  levin::DataLoaderSpec train_dataloader() override {
    const Tensor x = at::sin(at::arange(160, at::kFloat)).view({40, 4});
    const auto samples =
        std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{{"x", x}, {"y", x.sum(1, true) * 2 + 1}});
    return {std::make_shared<levin::TransformDataset>(samples,
                                                      [mistake = mistake_](const Batch& source, Batch& into) {
                                                        if (mistake == Mistake::reader) throw std::runtime_error("the reader broke");
                                                        if (mistake == Mistake::reader_crash) read_the_null_pointer();
                                                        for (const auto& [name, tensor] : source.tensors()) into.set(name, tensor);
                                                      }),
            {.global_batch_size = 8, .num_workers = 2}};
  }

 private:
  Mistake mistake_;
};

}  // namespace

int main(int argc, char** argv) { return levin::cli::run<Mistaken, MistakenData>(argc, argv); }
