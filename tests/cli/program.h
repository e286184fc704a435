#pragma once
// A program's options as a job has them, for the tests of cli.
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "levin/cli/program_options.h"
#include "levin/core/open_choice.h"
#include "levin_test.h"

namespace cli_test {

struct Single {};
LEVIN_CONFIG(Single)
LEVIN_CHOICE(Single, "single")

struct Ddp {
  std::string share_parameters = "auto";
  int64_t prefetch = 1;
};
LEVIN_CONFIG(Ddp, (share_parameters, "how far one copy is shared", one_of({"auto", "node", "numa", "none"})),
             (prefetch, "buckets ahead", at_least(0)))
LEVIN_CHOICE(Ddp, "ddp")

struct Fsdp {
  int64_t prefetch = 2;
  levin::Bytes bucket{25 << 20};
};
LEVIN_CONFIG(Fsdp, (prefetch, "units ahead", at_least(0)), (bucket, "bytes of a bucket"))
LEVIN_CHOICE(Fsdp, "fsdp", "deepspeed_stage_3")

// Components chosen by name.
struct Listener {
  virtual ~Listener() = default;
};
struct EarlyConfig {
  int64_t patience = 3;
  bool strict = true;
  std::map<std::string, double> weights;
};
LEVIN_CONFIG(EarlyConfig, (patience, "how long to wait", at_least(1)), (strict, "no mercy"), (weights, "by name"))
LEVIN_CHOICE(EarlyConfig, "early_stopping")
struct Early : Listener {
  using Config = EarlyConfig;
  explicit Early(const EarlyConfig& given) : config(given) {}
  EarlyConfig config;
};
struct Quiet : Listener {};

struct Trainer {
  int64_t max_epochs = 1000;
  levin::AutoCount devices;
  bool fast_dev_run = false;
  levin::Limit limit_train_batches;
  std::optional<levin::Seconds> max_time;
  std::optional<double> gradient_clip_val;
  std::variant<Single, Ddp, Fsdp> strategy = Ddp{};
  levin::Choices<Listener> callbacks;
};
LEVIN_CONFIG(Trainer, (max_epochs, "stop after this many epochs; -1: no limit", at_least(-1)), (devices, "ranks on a node", at_least(1)),
             (fast_dev_run, "one batch of everything"), (limit_train_batches, "how much of the training data"),
             (max_time, "stop after this time"), (gradient_clip_val, "clip gradients at this", greater_than(0)), (strategy, "the strategy"),
             (callbacks, "what else acts"))

struct Model {
  int64_t hidden = 128;
  std::vector<int64_t> widths{64, 32};
  std::map<std::string, double> class_weights;
  std::string activation = "relu";
};
LEVIN_CONFIG(Model, (hidden, "width of the hidden layer", at_least(1)), (widths, "widths of the layers", at_least(1)),
             (class_weights, "weight of a class in the loss", at_least(0)), (activation, "activation"))

struct Sgd {
  double lr = 0.1, momentum = 0;
};
LEVIN_CONFIG(Sgd, (lr, "learning rate", greater_than(0)), (momentum, "momentum", between(0, 1)))
LEVIN_CHOICE(Sgd, "sgd")

struct AdamW {
  double lr = 1e-3;
  std::vector<double> betas{0.9, 0.999};
};
LEVIN_CONFIG(AdamW, (lr, "learning rate", greater_than(0)), (betas, "decay of the moments"))
LEVIN_CHOICE(AdamW, "adamw")

struct Root {
  std::optional<std::string> run_name;
  std::filesystem::path run_dir;
  std::optional<int64_t> seed_everything;
};
LEVIN_CONFIG(Root, (run_name, "name of the run"), (run_dir, "where its files are"), (seed_everything, "seed of all random numbers"))

struct Program {
  Root root;
  Trainer trainer;
  Model model;
  std::optional<std::variant<Sgd, AdamW>> optimizer;
  levin::ProgramOptions options{
      "job", "1.2.3", {{"fit", "train"}, {"validate", "measure"}, {"test", "measure at the end"}, {"predict", "use"}}};
  levin::ProgramCommand command;

  Program() {
    levin::Registry<Listener> listeners;
    listeners.add<Early>();
    listeners.add<Quiet>("quiet");
    trainer.callbacks.offer(std::move(listeners));
    options.add(root);
    options.add_group("trainer", "how to train", trainer);
    options.add_group("model", "the model", model);
    options.add_group("optimizer", "in place of the model's own", optimizer);
  }
  Program(const Program&) = delete;

  levin::ProgramCommand parse(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    return options.parse({std::move(arguments), std::move(environment), {}});
  }
};

/// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text, const std::string& name = "config.yaml") {
    std::string pattern = (std::filesystem::temp_directory_path() / "levin_cli_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    file_ = directory_ / name;
    std::ofstream(file_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove_all(directory_); }
  TemporaryFile(const TemporaryFile&) = delete;
  std::string path() const { return file_.string(); }
  std::string directory() const { return directory_.string(); }

 private:
  std::filesystem::path directory_, file_;
};

}  // namespace cli_test
