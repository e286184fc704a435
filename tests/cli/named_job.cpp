// A job of which everything is chosen by name, for run_test: its own models, data modules, links between them, callbacks and loggers.
#include <ATen/ops/arange.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/sin.h>
#include <torch/nn/modules/linear.h>

#include <cstdio>
#include <fstream>

#include "levin/cli/run.h"
#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"

namespace {

using levin::Batch, levin::Tensor;

struct MlpConfig {
  int64_t inputs = 0, hidden = 8;
  double lr = 0.01;
};
LEVIN_CONFIG(MlpConfig, (inputs, "values of a sample", at_least(1)), (hidden, "width of the hidden layer", at_least(1)),
             (lr, "learning rate", at_least(0)))
LEVIN_CHOICE(MlpConfig, "mlp")

struct LineConfig {
  int64_t inputs = 4;
  double lr = 0.01;
};
LEVIN_CONFIG(LineConfig, (inputs, "values of a sample", at_least(1)), (lr, "learning rate", at_least(0)))
LEVIN_CHOICE(LineConfig, "line")

class Regression : public levin::Module {
 public:
  explicit Regression(double lr) : lr_(lr) {}
  virtual Tensor forward(const Tensor& x) = 0;
  Tensor training_step(const Batch& batch) override {
    Tensor loss = at::mse_loss(forward(batch["x"]), batch["y"]);
    log("train_loss", loss, {.prog_bar = true});
    return loss;
  }
  void validation_step(const Batch& batch) override { log("val_loss", at::mse_loss(forward(batch["x"]), batch["y"])); }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = lr_}}; }

 private:
  double lr_;
};

class Mlp : public Regression {
 public:
  using Config = MlpConfig;
  explicit Mlp(const MlpConfig& config) : Regression(config.lr), in_(config.inputs, config.hidden), out_(config.hidden, 1) {
    register_module("in", in_);
    register_module("out", out_);
  }
  Tensor forward(const Tensor& x) override { return out_(in_(x).tanh()); }

 private:
  torch::nn::Linear in_, out_;
};

class Line : public Regression {
 public:
  using Config = LineConfig;
  explicit Line(const LineConfig& config) : Regression(config.lr), net_(register_module("net", torch::nn::Linear(config.inputs, 1))) {}
  Tensor forward(const Tensor& x) override { return net_(x); }

 private:
  torch::nn::Linear net_;
};

class Rows : public levin::DataModule {
 public:
  explicit Rows(int64_t width) : width_(width) {}
  levin::DataLoaderSpec train_dataloader() override { return make(40); }
  levin::DataLoaderSpec val_dataloader() override { return make(11); }

 protected:
  int64_t width_;

 private:
  levin::DataLoaderSpec make(int64_t samples) const {
    const Tensor x = at::sin(at::arange(samples * width_, at::kFloat)).view({samples, width_});
    return {std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{{"x", x}, {"y", x.sum(1, true) * 2 + 1}}),
            {.global_batch_size = 8}};
  }
};

struct WavesConfig {
  int64_t width = 4;
};
LEVIN_CONFIG(WavesConfig, (width, "values of a sample", at_least(1)))
LEVIN_CHOICE(WavesConfig, "waves")
struct Waves : Rows {
  using Config = WavesConfig;
  explicit Waves(const WavesConfig& config) : Rows(config.width) {}
};

// Its width is known only when its file has been read, which prepare_data writes.
struct FileConfig {
  std::filesystem::path path = "width.txt";
  int64_t width = 6;
};
LEVIN_CONFIG(FileConfig, (path, "where the width stands"), (width, "what to write there", at_least(0)))
LEVIN_CHOICE(FileConfig, "file")
class File : public Rows {
 public:
  using Config = FileConfig;
  explicit File(const FileConfig& config) : Rows(0), config_(config) {}
  void prepare_data() override { std::ofstream(config_.path) << config_.width; }
  void setup(levin::Stage) override { std::ifstream(config_.path) >> width_; }
  int64_t inputs() const { return width_; }

 private:
  FileConfig config_;
};

struct GreeterConfig {
  std::string word = "hello";
};
LEVIN_CONFIG(GreeterConfig, (word, "what it says"))
class Greeter : public levin::Callback {
 public:
  using Config = GreeterConfig;
  explicit Greeter(const GreeterConfig& config) : word_(config.word) {}
  void on_train_start() override {
    if (trainer().session().rank() == 0) std::printf("%s from the greeter\n", word_.c_str());
  }

 private:
  std::string word_;
};

class LineLogger : public levin::Logger {
 public:
  explicit LineLogger(const std::filesystem::path& folder) : file_(folder / "lines.txt") {}
  void log_metrics(const levin::NamedValues& values, int64_t, int64_t step) override {
    for (const auto& [name, value] : values) file_ << fmt::format("{} {} {}\n", step, name, value);
  }

 private:
  std::ofstream file_;
};

// A logger whose disk is full from the second time on.
class FullLogger : public levin::Logger {
 public:
  void log_metrics(const levin::NamedValues&, int64_t, int64_t) override {
    if (times_++ > 0) throw levin::IoError("cannot write the log: No space left on device", "make room", "loggers");
  }

 private:
  int times_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace levin::cli;
  return run<Models<Mlp, Line>, DataModules<Waves, File>>(argc, argv, callback<Greeter>("greeter"), logger<LineLogger>("lines"),
                                                          logger<FullLogger>("full"), link<&WavesConfig::width, &MlpConfig::inputs>(),
                                                          link<&File::inputs, &MlpConfig::inputs>(),
                                                          link<&File::inputs, &LineConfig::inputs>());
}
