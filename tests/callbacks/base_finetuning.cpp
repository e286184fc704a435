#include "levin/callbacks/base_finetuning.h"

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

BOOST_AUTO_TEST_CASE(an_unknown_backbone_is_refused) {
  ReferenceData data;
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.add_callback(std::make_shared<BackboneFinetuning>());
  const auto module = trainer.build<ReferenceToy>();
  check_all_throw<levin::Error>([&] { trainer.fit(*module, data); }, {"no parameter in a submodule \"backbone\""});
}

BOOST_AUTO_TEST_SUITE_END()
