#include "levin/callbacks/base_finetuning.h"

#include <ATen/ops/eye.h>
#include <torch/nn/modules/batchnorm.h>

#include "check_all_throw.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::BackboneFinetuning;
using levin::BackboneFinetuningConfig;

BOOST_AUTO_TEST_SUITE(callbacks_base_finetuning)

namespace {

struct WithBackbone : ReferenceToy {
  WithBackbone() {
    backbone = register_module("backbone", torch::nn::Linear(4, 4));
    norm = backbone->register_module("norm", torch::nn::BatchNorm1d(4));
  }
  levin::Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(net(norm(backbone(batch["x"]))), batch["y"]); }
  void validation_step(const levin::Batch&) override {}
  torch::nn::Linear backbone{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
};

// That of record_callbacks.py.
struct ReferenceBackbone : WithBackbone {
  ReferenceBackbone() {
    const at::NoGradGuard no_grad;
    backbone->weight.copy_(at::eye(4) / 2 + 0.125);
    backbone->bias.zero_();
    spec.rules = {{.pattern = "backbone.weight", .lr = 0.01}, {.pattern = "backbone.bias", .lr = 0.01}};
  }
  void on_train_batch_start(const levin::Batch&, int64_t batch_idx) override {
    if (batch_idx == 0)
      for (const auto& parameter : parameters()) trained.push_back(parameter.requires_grad() ? 1 : 0);
  }
  std::vector<double> trained;  // each parameter, in each epoch
};

// Whether net, backbone.weight and backbone.norm.weight changed in each epoch.
std::vector<std::string> changed(const BackboneFinetuningConfig& config, const levin::StrategyConfig& strategy) {
  auto options = reference_config(3);
  options.session.strategy = strategy;
  ReferenceData data;
  levin::Trainer trainer(options, runtime());
  trainer.add_callback(std::make_shared<BackboneFinetuning>(config));
  std::map<std::string, levin::Tensor> before;
  std::vector<std::string> epochs;
  const auto compare = [&](bool note) {
    if (note) epochs.emplace_back();
    trainer.session().read_parameters([&](const std::string& name, const levin::Tensor& parameter) {
      auto& old = before[name];
      const bool is_counted = name == "net.weight" || name == "backbone.weight" || name == "backbone.norm.weight";
      if (note && is_counted && !old.equal(parameter)) epochs.back() += name + " ";
      old = parameter.clone();
    });
  };
  trainer.add_callback(std::make_shared<levin::LambdaCallback>(levin::LambdaHooks{
      .on_train_start = [&](auto&, auto&) { compare(false); }, .on_train_epoch_end = [&](auto&, auto&) { compare(true); }}));
  const auto module = trainer.build<WithBackbone>();
  trainer.fit(*module, data);
  return epochs;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_backbone_is_trained_from_its_epoch_on) {
  for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::FSDP{})}) {
    const std::string all = "net.weight backbone.weight backbone.norm.weight ";
    BOOST_TEST(
        changed({.unfreeze_backbone_at_epoch = 1}, strategy) == (std::vector<std::string>{"net.weight backbone.norm.weight ", all, all}),
        boost::test_tools::per_element());
    BOOST_TEST(changed({.unfreeze_backbone_at_epoch = 2, .train_bn = false}, strategy) ==
                   (std::vector<std::string>{"net.weight ", "net.weight ", all}),
               boost::test_tools::per_element());
  }
}

// The backbone begins in the second epoch, with its own learning rate; its batch normalization is trained from the beginning.
BOOST_AUTO_TEST_CASE(a_backbone_ends_as_in_lightning) {
  for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::FSDP{})}) {
    auto config = reference_config(3);
    config.session.strategy = strategy;
    config.session.sync_batchnorm = true;
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    trainer.add_callback(std::make_shared<BackboneFinetuning>(BackboneFinetuningConfig{.unfreeze_backbone_at_epoch = 1}));
    const auto module = trainer.build<ReferenceBackbone>();
    trainer.fit(*module, data);
    check_recorded(values_of(trainer.session()), "finetuning", 1e-9);
    check_recorded(module->trained, "finetuning_trained");
  }
}

BOOST_AUTO_TEST_CASE(an_unknown_backbone_is_refused) {
  ReferenceData data;
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.add_callback(std::make_shared<BackboneFinetuning>());
  const auto module = trainer.build<ReferenceToy>();
  check_all_throw<levin::Error>([&] { trainer.fit(*module, data); }, {"no parameter in a submodule \"backbone\""});
}

BOOST_AUTO_TEST_SUITE_END()
