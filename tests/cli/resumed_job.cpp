// A small job for resume_test, in which everything a restart must find again makes a difference: dropout, shuffling, BatchNorm, momenta, a
// schedule that waits for a plateau, a metric, a module's own state.
#include <ATen/ops/arange.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <fcntl.h>
#include <mpi.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "levin/cli/run.h"
#include "levin/data/tensor_dataset.h"
#include "levin/metrics/mean.h"
#include "levin/nn/unit.h"

// Stands before the C library's: the file that RESUMED_JOB_SYNCS names gets a line for each file that is flushed to disk.
extern "C" __attribute__((visibility("default"))) int fsync(int descriptor) {
  if (const char* list = std::getenv("RESUMED_JOB_SYNCS")) {
    char path[4096];
    const auto length = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path, sizeof path);
    const std::string line = std::string(path, length > 0 ? static_cast<size_t>(length) : 0) + "\n";
    const int file = open(list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (write(file, line.data(), line.size()) < 0) std::abort();
    close(file);
  }
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

// Stands before the C library's, which libstdc++ calls: with RESUMED_JOB_STALE, ranks other than 0 do not find checkpoints by name, as
// hosts whose view of a file system is older.
extern "C" __attribute__((visibility("default"))) int stat_with_old_view(const char* path, struct stat* about) noexcept __asm__("stat");
int stat_with_old_view(const char* path, struct stat* about) noexcept {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (std::getenv("RESUMED_JOB_STALE") && rank && std::strcmp(rank, "0") != 0 && std::strstr(path, "/step=")) {
    errno = ENOENT;
    return -1;
  }
  return fstatat(AT_FDCWD, path, about, 0);
}

namespace {

using levin::Batch, levin::Tensor;

int number_of(const std::string& signal) {
  for (const auto& [name, number] :
       {std::pair("USR1", SIGUSR1), std::pair("USR2", SIGUSR2), std::pair("HUP", SIGHUP), std::pair("INT", SIGINT)})
    if (signal == name) return number;
  return SIGTERM;
}

bool is_last_rank() {
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank), MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  return rank == ranks - 1;
}

struct NetConfig {
  int64_t width = 8, step_milliseconds = 0, save_milliseconds = 0, signal_in_validation = 0, throw_at = 0, signal_count = 1;
  double dropout = 0.3;
  bool norm = true, middle = false;
  std::string signal_at = {}, signal = "TERM";
};
LEVIN_CONFIG(NetConfig, (width, "of the hidden layer", at_least(1)), (step_milliseconds, "how long a step takes at least", at_least(0)),
             (save_milliseconds, "how long a save takes at least", at_least(0)),
             (signal_in_validation, "the last rank gets the signal in this validation batch of its; 0: none", at_least(0)),
             (throw_at, "the last rank throws in this training batch; 0: never", at_least(0)), (dropout, "probability", at_least(0)),
             (norm, "with BatchNorm"), (middle, "with a unit between the layers"),
             (signal_at,
              "the last rank gets the signal in `step N`, `after N` (its exchange), `save N` (of this attempt), or the batch `test N` or "
              "`predict N`; empty: never"),
             (signal, "which signal", one_of({"TERM", "USR1", "USR2", "HUP", "INT"})), (signal_count, "how often", at_least(1)))

struct DataConfig {
  int64_t samples = 44, stall_at = 0, stall_milliseconds = 0;
  std::string signal_in_preparation = {}, stall_signal = {};
  bool stall_in_validation = false;
  levin::DataLoaderOptions loader{.global_batch_size = 8, .shuffle = true};
};
LEVIN_CONFIG(DataConfig, (samples, "samples to train on", at_least(1)),
             (stall_at, "the last rank's training data stall in this read of a batch, on a thread of the loader; 0: never", at_least(0)),
             (stall_milliseconds, "how long; 0: for ever, with the signal after two seconds", at_least(0)),
             (stall_signal, "which signal; empty: none"), (stall_in_validation, "the validation data stall instead"),
             (signal_in_preparation, "signal that rank 0 gets in prepare_data; empty: none"), (loader, "how batches are made", flattened))

struct MiddleImpl : levin::Unit<Tensor(Tensor)> {
  explicit MiddleImpl(int64_t width) { linear = register_module("linear", torch::nn::Linear(width, width)); }
  Tensor compute(Tensor x) override { return x + 0.1 * at::relu(linear(x)); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Middle);

class Net : public levin::Module {
 public:
  using Config = NetConfig;
  explicit Net(const NetConfig& config) : config_(config) {
    first_ = register_module("first", torch::nn::Linear(4, config.width));
    if (config.norm) norm_ = register_module("norm", torch::nn::BatchNorm1d(config.width));
    if (config.middle) middle_ = register_module("middle", Middle(config.width));
    dropout_ = register_module("dropout", torch::nn::Dropout(config.dropout));
    last_ = register_module("last", torch::nn::Linear(config.width, 1));
  }

  Tensor training_step(const Batch& batch) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(config_.step_milliseconds));
    Tensor loss = loss_of(batch);
    log("train_loss", loss, {.on_step = true, .on_epoch = true});
    log("largest", loss, {.on_step = false, .on_epoch = true, .reduce_fx = levin::ReduceFx::max});
    mean_.update(loss.detach(), batch.weight());
    log("mean", mean_);
    log("batches", static_cast<double>(++batches_));
    signal_if("step", batches_);
    if (is_last_rank() && batches_ == config_.throw_at) throw std::runtime_error("a loss that was not expected");
    return loss;
  }
  void on_train_batch_end(const Tensor&, const Batch&, int64_t) override { signal_if("after", batches_); }
  void validation_step(const Batch& batch) override {
    log("val_loss", loss_of(batch));
    val_mean_.update(batch["y"]);
    log("val_mean", val_mean_);
    if (is_last_rank() && ++validated_ == config_.signal_in_validation) send_signal();
  }
  void test_step(const Batch& batch) override {
    log("test_loss", loss_of(batch));
    signal_if("test", ++tested_);
  }
  Tensor predict_step(const Batch& batch) override {
    signal_if("predict", ++predicted_);
    return first_(batch["x"]);
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override {
    levin::OptimizerSpec spec = levin::AdamW{.lr = 0.05};
    spec.lr_scheduler = levin::ReduceLROnPlateau{.monitor = "val_loss", .patience = 0};
    return {spec};
  }
  void on_save_checkpoint(levin::StateDict& checkpoint) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(config_.save_milliseconds));
    signal_if("save", ++saved_);
    checkpoint.set("batches", batches_);
    checkpoint.set("batches_as_tensor", at::tensor({batches_, batches_}, at::kLong));
  }
  void on_load_checkpoint(const levin::StateDict& checkpoint) override {
    batches_ = checkpoint.get<int64_t>("batches");
    if (checkpoint.get<Tensor>("batches_as_tensor")[1].item<int64_t>() != batches_) throw std::runtime_error("the tensor is another");
  }

 private:
  void signal_if(const std::string& where, int64_t number) const {
    if (is_last_rank() && config_.signal_at == where + " " + std::to_string(number)) send_signal();
  }
  void send_signal() const {
    for (int64_t i = 0; i < config_.signal_count; i++) raise(number_of(config_.signal));
  }
  Tensor loss_of(const Batch& batch) {
    Tensor x = first_(batch["x"]);
    if (norm_) x = norm_(x);
    return at::mse_loss(last_(dropout_(middle_ ? middle_(at::relu(x)) : at::relu(x))), batch["y"]);
  }

  NetConfig config_;
  torch::nn::Linear first_{nullptr}, last_{nullptr};
  torch::nn::BatchNorm1d norm_{nullptr};
  Middle middle_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
  levin::Mean& mean_ = add_metric<levin::Mean>("mean");
  levin::Mean& val_mean_ = add_metric<levin::Mean>("val_mean");
  int64_t batches_ = 0, validated_ = 0, tested_ = 0, predicted_ = 0, saved_ = 0;
};

// Data that come late, or never.
class StallingDataset : public levin::Dataset {
 public:
  StallingDataset(std::shared_ptr<const levin::Dataset> data, const DataConfig& config) : data_(std::move(data)), config_(config) {}
  int64_t size() const override { return data_->size(); }
  void get(std::span<const int64_t> indices, Batch& into) const override {
    if (reads_.fetch_add(1) + 1 == config_.stall_at) stall();
    data_->get(indices, into);
  }

 private:
  void stall() const {
    std::this_thread::sleep_for(std::chrono::milliseconds(config_.stall_milliseconds > 0 ? config_.stall_milliseconds : 2000));
    if (config_.stall_milliseconds > 0) return;
    if (!config_.stall_signal.empty()) kill(getpid(), number_of(config_.stall_signal));  // raise() would mean this thread
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }

  std::shared_ptr<const levin::Dataset> data_;
  DataConfig config_;
  mutable std::atomic<int64_t> reads_{0};
};

class Data : public levin::DataModule {
 public:
  using Config = DataConfig;
  explicit Data(const DataConfig& config) : config_(config) {}
  void prepare_data() override {
    if (!config_.signal_in_preparation.empty()) raise(number_of(config_.signal_in_preparation));
  }
  levin::DataLoaderSpec train_dataloader() override { return {stalling(make(config_.samples), false), config_.loader}; }
  levin::DataLoaderSpec val_dataloader() override { return {stalling(make(11), true), config_.loader}; }
  levin::DataLoaderSpec test_dataloader() override { return {make(13), config_.loader}; }

 private:
  static std::shared_ptr<const levin::Dataset> make(int64_t samples) {
    const Tensor x = at::sin(at::arange(samples * 4, at::kFloat)).view({samples, 4});
    return std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{{"x", x}, {"y", x.sum(1, true) * 2 + 1}});
  }
  std::shared_ptr<const levin::Dataset> stalling(std::shared_ptr<const levin::Dataset> data, bool validation) const {
    if (config_.stall_at == 0 || config_.stall_in_validation != validation || !is_last_rank()) return data;
    return std::make_shared<StallingDataset>(std::move(data), config_);
  }
  DataConfig config_;
};

}  // namespace

int main(int argc, char** argv) { return levin::cli::run<Net, Data>(argc, argv); }
