// A small job for watchdog_test, which fails on one rank in the way and the place that its options name, or is slow there.
#include <ATen/ops/arange.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/sin.h>
#include <mpi.h>
#include <torch/nn/modules/linear.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

#include "levin/cli/run.h"
#include "levin/data/tensor_dataset.h"

namespace {

using levin::Batch, levin::Tensor;

enum class Fault { none, raise, sleep, stop, kill, allocate };
LEVIN_ENUM(Fault, (none, "none"), (raise, "throw"), (sleep, "sleep"), (stop, "stop"), (kill, "kill"), (allocate, "allocate"))

int mpi_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

// Until the kernel ends the process.
[[noreturn]] void allocate_memory() {
  constexpr size_t block = size_t{16} << 20, most_blocks = 256;
  std::vector<std::vector<char>> blocks;
  while (blocks.size() < most_blocks) blocks.emplace_back(block, 'x');
  throw std::runtime_error("4 GiB were allocated: no limit");
}

void commit(Fault fault, const char* place) {
  switch (fault) {
    case Fault::none: return;
    case Fault::raise: throw std::runtime_error(std::string("the fault in the ") + place);
    case Fault::sleep:
      while (true) std::this_thread::sleep_for(std::chrono::hours(1));
    case Fault::stop: raise(SIGSTOP); return;
    case Fault::kill: raise(SIGKILL); return;
    case Fault::allocate: allocate_memory();
  }
}

struct NetConfig {
  Fault fault = Fault::none, validation_fault = Fault::none;
  int64_t rank = 1, batch = 4, step_milliseconds = 0, slow_rank = -1, slow_milliseconds = 0;
};
LEVIN_CONFIG(NetConfig, (fault, "in training_step"), (validation_fault, "in validation_step, after the sanity check"),
             (rank, "the rank that fails", at_least(0)), (batch, "the batch in which it fails, from 1", at_least(1)),
             (step_milliseconds, "duration of a step", at_least(0)), (slow_rank, "a slow rank; -1: none", at_least(-1)),
             (slow_milliseconds, "how much longer its steps are", at_least(0)))

struct DataConfig {
  Fault fault = Fault::none;
  int64_t rank = 1, samples = 64, prepare_milliseconds = 0;
  levin::DataLoaderOptions loader{.global_batch_size = 8};
};
LEVIN_CONFIG(DataConfig, (fault, "in the data set, when it has been read for some batches"), (rank, "the rank that fails", at_least(0)),
             (samples, "samples to train on", at_least(1)), (prepare_milliseconds, "duration of prepare_data", at_least(0)),
             (loader, "how batches are made", flattened))

struct FaultyCallbackConfig {
  Fault fault = Fault::none;
  int64_t rank = 1, exception_seconds = 0;
};
LEVIN_CONFIG(FaultyCallbackConfig, (fault, "in on_train_batch_end"), (rank, "the rank that fails", at_least(0)),
             (exception_seconds, "duration of on_exception", at_least(0)))
LEVIN_CHOICE(FaultyCallbackConfig, "faulty")

struct FaultyLoggerConfig {
  Fault fault = Fault::none;
};
LEVIN_CONFIG(FaultyLoggerConfig, (fault, "when it logs for the second time; loggers live on rank 0"))
LEVIN_CHOICE(FaultyLoggerConfig, "faulty")

class WatchedNet : public levin::Module {
 public:
  using Config = NetConfig;
  explicit WatchedNet(const NetConfig& config) : config_(config), net_(register_module("net", torch::nn::Linear(4, 1))) {}

  Tensor training_step(const Batch& batch) override {
    const int64_t more = mpi_rank() == config_.slow_rank ? config_.slow_milliseconds : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(config_.step_milliseconds + more));
    trained_++;
    if (mpi_rank() == config_.rank && trained_ == config_.batch) commit(config_.fault, "model");
    Tensor loss = at::mse_loss(net_(batch["x"]), batch["y"]);
    log("train_loss", loss);
    return loss;
  }
  void validation_step(const Batch& batch) override {
    if (mpi_rank() == config_.rank && trained_ > 0) commit(config_.validation_fault, "validation");
    log("val_loss", at::mse_loss(net_(batch["x"]), batch["y"]));
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = 0.01}}; }

 private:
  NetConfig config_;
  torch::nn::Linear net_;
  int64_t trained_ = 0;
};

// Read by the threads of a loader.
class FaultyDataset : public levin::Dataset {
 public:
  FaultyDataset(std::shared_ptr<const levin::Dataset> data, Fault fault) : data_(std::move(data)), fault_(fault) {}
  int64_t size() const override { return data_->size(); }
  void get(std::span<const int64_t> indices, Batch& into) const override {
    if (reads_.fetch_add(1) == 4) commit(fault_, "data");
    data_->get(indices, into);
  }

 private:
  std::shared_ptr<const levin::Dataset> data_;
  Fault fault_;
  mutable std::atomic<int> reads_{0};
};

class WatchedData : public levin::DataModule {
 public:
  using Config = DataConfig;
  explicit WatchedData(const DataConfig& config) : config_(config) {}
  void prepare_data() override { std::this_thread::sleep_for(std::chrono::milliseconds(config_.prepare_milliseconds)); }
  levin::DataLoaderSpec train_dataloader() override {
    return {std::make_shared<FaultyDataset>(make(config_.samples), mpi_rank() == config_.rank ? config_.fault : Fault::none),
            config_.loader};
  }
  levin::DataLoaderSpec val_dataloader() override { return {make(16), config_.loader}; }

 private:
  static std::shared_ptr<const levin::Dataset> make(int64_t samples) {
    const Tensor x = at::sin(at::arange(samples * 4, at::kFloat)).view({samples, 4});
    return std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{{"x", x}, {"y", x.sum(1, true) * 2 + 1}});
  }
  DataConfig config_;
};

class FaultyCallback : public levin::Callback {
 public:
  using Config = FaultyCallbackConfig;
  explicit FaultyCallback(const FaultyCallbackConfig& config) : config_(config) {}
  void on_train_batch_end(const Tensor&, const Batch&, int64_t batch_idx) override {
    if (mpi_rank() == config_.rank && batch_idx == 3) commit(config_.fault, "callback");
  }
  void on_exception(const std::string&) override { std::this_thread::sleep_for(std::chrono::seconds(config_.exception_seconds)); }

 private:
  FaultyCallbackConfig config_;
};

class FaultyLogger : public levin::Logger {
 public:
  using Config = FaultyLoggerConfig;
  explicit FaultyLogger(const FaultyLoggerConfig& config) : config_(config) {}
  void log_metrics(const levin::NamedValues&, int64_t, int64_t) override {
    if (times_++ == 1) commit(config_.fault, "logger");
  }

 private:
  FaultyLoggerConfig config_;
  int times_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace levin::cli;
  return run<WatchedNet, WatchedData>(argc, argv, callback<FaultyCallback>(), logger<FaultyLogger>());
}
