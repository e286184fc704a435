// A small job for run_test: a regression that trains in milliseconds, and that can go wrong on one rank in every way.
// "toy_job --read_predictions FILE" prints what a run predicted: a line "INDEX VALUE ..." for each sample.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/sin.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <mpi.h>
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "levin/cli/run.h"
#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"
#include "levin/loggers/spool_logger.h"
#include "levin/trainer/find_logger.h"

namespace {

using levin::Batch, levin::Tensor;

enum class FailHow { raise, leave, hang, kill };
LEVIN_ENUM(FailHow, (raise, "throw"), (leave, "exit"), (hang, "hang"), (kill, "kill"))

struct ToyConfig {
  double lr = 0.01;
  int64_t step_milliseconds = 0, fail_on_rank = -1, fail_at_step = 3;
  FailHow fail_how = FailHow::raise;
  bool draw = false;
  std::filesystem::path artifact;
};
LEVIN_CONFIG(ToyConfig, (lr, "learning rate", at_least(0)), (step_milliseconds, "how long a step takes at least", at_least(0)),
             (fail_on_rank, "rank that goes wrong; -1: none"), (fail_at_step, "batches before it does"), (fail_how, "what it does"),
             (draw, "whether each step adds a text, a histogram and an image to the loggers"),
             (artifact, "a file that the first step adds to them, if any"))

struct ToyDataConfig {
  int64_t samples = 40;
  std::filesystem::path file, move_to;
  levin::DataLoaderOptions loader{.global_batch_size = 8};
};
LEVIN_CONFIG(ToyDataConfig, (samples, "samples to train on", at_least(1)), (file, "a file that setup reads, if any"),
             (move_to, "directory that setup changes into, if any"), (loader, "how batches are made", flattened))

class Toy : public levin::Module {
 public:
  using Config = ToyConfig;
  explicit Toy(const ToyConfig& config) : config_(config) {
    net_ = register_module("net", torch::nn::Linear(4, 1));
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  }

  Tensor training_step(const Batch& batch) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(config_.step_milliseconds));
    if (rank_ == config_.fail_on_rank && steps_++ == config_.fail_at_step) fail();
    Tensor loss = loss_of(batch);
    log("train_loss", loss, {.prog_bar = true});
    return loss;
  }
  void validation_step(const Batch& batch) override { log("val_loss", loss_of(batch)); }
  void test_step(const Batch& batch) override { log("test_loss", loss_of(batch)); }
  Tensor predict_step(const Batch& batch) override { return at::cat({batch["twice"], net_(batch["x"])}, 1); }
  void on_train_batch_end(const Tensor&, const Batch&, int64_t) override {
    const auto step = trainer().global_step();
    if (config_.draw)
      for (auto* logger : levin::find_loggers<levin::MediaLogger>(trainer())) {
        logger->add_text("notes", fmt::format("*step* {}", step), step);
        logger->add_histogram("weights", at::full({6}, static_cast<double>(step)), step);
        logger->add_image("pixels", at::full({3, 2, 4}, step, at::kByte), step);
      }
    if (!config_.artifact.empty() && step == 1)
      for (auto* logger : levin::find_loggers<levin::SpoolLogger>(trainer())) logger->add_file("data/fields.txt", config_.artifact, step);
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = config_.lr}}; }

 private:
  Tensor loss_of(const Batch& batch) { return at::mse_loss(net_(batch["x"]), batch["y"]); }
  void fail() const {
    switch (config_.fail_how) {
      case FailHow::raise: throw std::runtime_error("the toy broke");
      case FailHow::leave: _exit(3);
      case FailHow::kill: raise(SIGKILL); break;
      case FailHow::hang:
        while (true) pause();
    }
  }

  ToyConfig config_;
  torch::nn::Linear net_{nullptr};
  int rank_ = 0;
  int64_t steps_ = 0;
};

class ToyData : public levin::DataModule {
 public:
  using Config = ToyDataConfig;
  explicit ToyData(const ToyDataConfig& config) : config_(config) {}
  void setup(levin::Stage) override {
    if (!config_.move_to.empty()) std::filesystem::current_path(config_.move_to);
    if (!config_.file.empty() && !std::filesystem::exists(config_.file)) throw levin::DataError("no file " + config_.file.string());
  }
  levin::DataLoaderSpec train_dataloader() override { return {make(config_.samples), config_.loader}; }
  levin::DataLoaderSpec val_dataloader() override { return {make(11), config_.loader}; }
  levin::DataLoaderSpec test_dataloader() override { return {make(13), config_.loader}; }

 private:
  static std::shared_ptr<const levin::Dataset> make(int64_t samples) {
    const Tensor x = at::sin(at::arange(samples * 4, at::kFloat)).view({samples, 4});
    return std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{
        {"x", x}, {"y", x.sum(1, true) * 2 + 1}, {"twice", at::arange(samples, at::kFloat).unsqueeze(1) * 2}});
  }
  ToyDataConfig config_;
};

int read_predictions(const char* path) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t index = H5Dopen2(file, "index", H5P_DEFAULT), values = H5Dopen2(file, "prediction", H5P_DEFAULT);
  const hid_t space = H5Dget_space(values);
  hsize_t sizes[2] = {};
  if (space < 0 || H5Sget_simple_extent_ndims(space) != 2 || H5Sget_simple_extent_dims(space, sizes, nullptr) != 2) return 1;
  std::vector<int64_t> indices(sizes[0]);
  std::vector<double> rows(sizes[0] * sizes[1]);
  if (H5Dread(index, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, indices.data()) < 0 ||
      H5Dread(values, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows.data()) < 0)
    return 1;
  for (size_t row = 0; row < indices.size(); row++) {
    std::printf("%lld", static_cast<long long>(indices[row]));
    for (size_t column = 0; column < sizes[1]; column++) std::printf(" %.9g", rows[row * sizes[1] + column]);
    std::printf("\n");
  }
  return H5Sclose(space) < 0 || H5Dclose(values) < 0 || H5Dclose(index) < 0 || H5Fclose(file) < 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--read_predictions") return read_predictions(argv[2]);
  return levin::cli::run<Toy, ToyData>(argc, argv);
}
