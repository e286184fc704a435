#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "levin/trainer/trainer.h"
#include "levin_test.h"
#include "reference.h"
#include "toy.h"

namespace reference = levin::test::reference;
using levin::Tensor;

BOOST_AUTO_TEST_SUITE(trainer_fit_loop)

namespace {

// The reference's model, from the reference's weights.
struct Model : levin::Module {
  Model(const std::string& kind, levin::OptimizerSpec optimizer, at::ScalarType dtype) : kind_(kind), spec_(std::move(optimizer)) {
    for (const auto& [name, value] : reference::weights(kind, dtype)) {
      std::string plain = name;
      std::replace(plain.begin(), plain.end(), '.', '_');  // a parameter's own name has no dots
      w_.push_back(register_parameter(plain, value.clone()));
      names_.push_back(name);
    }
  }
  Tensor training_step(const levin::Batch& batch) override {
    Tensor x = batch["image"];
    if (kind_ == "cnn") {
      x = at::max_pool2d(at::relu(at::conv2d(x, w_[0], w_[1])), 2);
      x = at::max_pool2d(at::relu(at::conv2d(x, w_[2], w_[3])), 2);
      x = at::linear(x.flatten(1), w_[4], w_[5]);
    } else {
      x = at::relu(at::linear(x.flatten(1), w_[0], w_[1]));
      x = at::linear(at::relu(at::linear(x, w_[2], w_[3])), w_[4], w_[5]);
    }
    Tensor loss = at::cross_entropy_loss(x, batch["label"]);
    sums_.push_back(loss.item<double>() * batch.weight());
    return loss;
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {spec_}; }
  void on_before_optimizer_step(std::string_view) override {
    if (!first_gradients_.empty() || !session) return;
    const bool slices = session->strategy().plan().shards_updates();
    for (size_t i = 0; i < w_.size(); i++) first_gradients_.push_back(at::zeros({w_[i].numel()}, w_[i].options().requires_grad(false)));
    for (const auto& [name, slice, offset] : session->gradients()) {
      std::string plain;
      for (size_t i = 0; i < names_.size(); i++) {
        plain = names_[i];
        std::replace(plain.begin(), plain.end(), '.', '_');
        if (plain == name) first_gradients_[i].narrow(0, offset, slice.numel()).copy_(slice);
      }
    }
    if (slices)
      for (auto& gradient : first_gradients_) session->communicator().all_reduce(gradient).wait();
  }

  std::string kind_;
  levin::OptimizerSpec spec_;
  std::vector<Tensor> w_;
  std::vector<std::string> names_;
  std::vector<double> sums_;  // of every batch: loss times this rank's samples
  std::vector<Tensor> first_gradients_;
  levin::Session* session = nullptr;
};

struct Data : levin::DataModule {
  Data(at::ScalarType dtype, int64_t step_samples) : step_samples_(step_samples) {
    dataset_ = std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{
        {"image", reference::images(0, reference::samples, dtype)}, {"label", reference::labels(0, reference::samples)}});
  }
  levin::DataLoaderSpec train_dataloader() override { return {dataset_, {.global_batch_size = step_samples_, .shuffle = false}}; }
  std::shared_ptr<levin::TensorDataset> dataset_;
  int64_t step_samples_;
};

struct Case {
  const char* name;
  levin::OptimizerSpec optimizer;
  std::optional<double> clip = {};
  levin::ClipAlgorithm algorithm = levin::ClipAlgorithm::norm;
  int64_t accumulate = 1;
};

std::vector<Case> cases() {
  const levin::OptimizerSpec sgd = levin::SGD{.lr = 0.05, .momentum = 0.9}, adamw = levin::AdamW{.lr = 2e-3, .weight_decay = 0.01};
  return {{"cnn_sgd", sgd},
          {"cnn_adamw", adamw},
          {"cnn_sgd_clip_norm", sgd, 0.5},
          {"cnn_adamw_accumulate", adamw, {}, levin::ClipAlgorithm::norm, 4},
          {"mlp_sgd", levin::SGD{.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true}},
          {"mlp_adam", levin::Adam{.lr = 1e-3, .beta1 = 0.8, .beta2 = 0.99, .weight_decay = 1e-3}},
          {"mlp_adamw_clip_value", levin::AdamW{.lr = 1e-3, .weight_decay = 0.01}, 0.003, levin::ClipAlgorithm::value}};
}

struct Run {
  std::shared_ptr<Model> model;
  std::vector<double> losses;  // of every batch, over all ranks
};

Run train(const Case& test_case, levin::Precision precision, levin::ShareParameters share, int64_t epochs, int64_t max_steps) {
  levin::TrainerConfig config;
  config.session.precision = precision;
  config.session.strategy = levin::DDP{share};
  config.session.gradient_clip_val = test_case.clip;
  config.session.gradient_clip_algorithm = test_case.algorithm;
  config.session.num_threads = 1;
  config.max_epochs = epochs;
  config.max_steps = max_steps;
  config.accumulate_grad_batches = test_case.accumulate;
  const auto dtype = precision == levin::Precision::float64 ? at::kDouble : at::kFloat;
  levin::Trainer trainer(config, levin::test::runtime());
  Data data(dtype, reference::batch_size * test_case.accumulate);
  Run run;
  run.model = trainer.build<Model>(std::string(test_case.name).substr(0, 3), test_case.optimizer, dtype);
  run.model->session = &trainer.session();
  trainer.fit(*run.model, data);
  const Tensor sums = at::tensor(run.model->sums_, at::kDouble);
  trainer.session().communicator().all_reduce(sums).wait();
  for (int64_t i = 0; i < sums.numel(); i++) run.losses.push_back(sums[i].item<double>() / reference::batch_size);
  // The parameters live in a window that goes on; other ranks may be ahead of us here.
  for (auto& w : run.model->w_) w = w.detach().clone();
  trainer.session().communicator().barrier();
  return run;
}

}  // namespace

BOOST_AUTO_TEST_CASE(follows_pytorch_for_100_steps_in_64_true) {
  for (const auto& test_case : cases()) {
    const auto recorded = reference::record(test_case.name);
    const auto run = train(test_case, levin::Precision::float64, levin::ShareParameters::automatic, 10, -1);
    BOOST_TEST_CONTEXT(test_case.name) {
      if (test_case.accumulate == 1) {  // else the last micro-batches of an epoch are cut otherwise; their steps are the same
        BOOST_REQUIRE(run.losses.size() == recorded.losses64.size());
        for (size_t i = 0; i < run.losses.size(); i++) BOOST_TEST(std::abs(run.losses[i] - recorded.losses64[i]) < 1e-9);
      }
      for (size_t i = 0; i < run.model->w_.size(); i++) BOOST_TEST(reference::distance(run.model->w_[i], recorded.weights64[i]) < 1e-9);
    }
  }
}

BOOST_AUTO_TEST_CASE(private_copies_follow_pytorch_too) {
  const auto run = train(cases()[2], levin::Precision::float64, levin::ShareParameters::none, 10, -1);
  const auto recorded = reference::record(cases()[2].name);
  for (size_t i = 0; i < run.losses.size(); i++) BOOST_TEST(std::abs(run.losses[i] - recorded.losses64[i]) < 1e-9);
}

BOOST_AUTO_TEST_CASE(ten_steps_and_the_first_gradients_in_32_true) {
  for (const auto& test_case : cases()) {
    if (test_case.accumulate != 1) continue;
    const auto recorded = reference::record(test_case.name);
    const auto run = train(test_case, levin::Precision::float32, levin::ShareParameters::automatic, 1, 10);
    BOOST_TEST_CONTEXT(test_case.name) {
      BOOST_REQUIRE(run.losses.size() == 10u);
      for (size_t i = 0; i < 10; i++) BOOST_TEST(std::abs(run.losses[i] - recorded.losses32[i]) < 1e-5);
      BOOST_REQUIRE(run.model->first_gradients_.size() == recorded.gradients32.size());
      for (size_t i = 0; i < recorded.gradients32.size(); i++)
        BOOST_TEST(reference::distance(run.model->first_gradients_[i], recorded.gradients32[i]) < 1e-5);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
