#include <torch/nn/modules/batchnorm.h>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"
#include "levin_test.h"
#include "toy.h"

using levin::Batch;
using levin::test::check_throws;
using levin::test::over_ranks;
using levin::test::runtime;
using levin::test::Toy;
using levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(trainer_evaluation_loop)

namespace {

// Validations over 11 and 5 samples, whose indices have the means 5 and 2, and 70 / 16 together.
struct TwoLoaders : ToyData {
  std::vector<levin::DataLoaderSpec> val_dataloaders() override { return {{val, options}, {make(5), options}}; }
  std::vector<levin::DataLoaderSpec> predict_dataloaders() override { return val_dataloaders(); }
};

struct Indices : Toy {
  void validation_step(const Batch& batch) override {
    mean_index_.update(batch["index"]);
    log("mean", mean_index_);
    log("index", batch["index"].mean());
    log("both", batch["index"].mean(), {.add_dataloader_idx = false});
    log("each", batch["index"].mean(), {.on_step = true, .on_epoch = true});
    seen[static_cast<size_t>(batch.dataloader_idx())] += static_cast<int64_t>(batch.indices().size());
  }
  int64_t seen[2] = {};
};

double value(const levin::NamedValues& values, const std::string& name) {
  const double* found = levin::find_value(values, name);
  BOOST_TEST_REQUIRE(found, "no " << name);
  return *found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_of_several_loaders_has_its_values) {
  TwoLoaders data;
  levin::Trainer trainer({}, runtime());
  const auto module = trainer.build<Indices>();
  for (int pass = 0; pass < 2; pass++) {
    const auto values = trainer.validate(*module, data);
    BOOST_TEST(value(values, "mean/dataloader_idx_0") == 5);
    BOOST_TEST(value(values, "mean/dataloader_idx_1") == 2);  // the metric was reset
    BOOST_TEST(value(values, "index/dataloader_idx_0") == 5);
    BOOST_TEST(value(values, "index/dataloader_idx_1") == 2);
    BOOST_TEST(value(values, "each_epoch/dataloader_idx_1") == 2);
    BOOST_TEST(value(values, "both") == 65.0 / 16);
    BOOST_TEST(values.size() == 7u);
  }
  BOOST_TEST(over_ranks(trainer.session(), static_cast<double>(module->seen[0])) == 22);
  BOOST_TEST(over_ranks(trainer.session(), static_cast<double>(module->seen[1])) == 10);
}

BOOST_AUTO_TEST_CASE(a_limit_is_each_loaders) {
  TwoLoaders data;
  levin::Trainer trainer({.limit_val_batches = levin::Limit::batches(1)}, runtime());
  const auto module = trainer.build<Indices>();
  trainer.validate(*module, data);
  BOOST_TEST(over_ranks(trainer.session(), static_cast<double>(module->seen[0])) == 8);
  BOOST_TEST(over_ranks(trainer.session(), static_cast<double>(module->seen[1])) == 5);
}

BOOST_AUTO_TEST_CASE(predictions_know_their_loader) {
  TwoLoaders data;
  levin::Trainer trainer({}, runtime());
  const auto module = trainer.build<Toy>();
  double rows[2] = {};
  for (const auto& prediction : trainer.predict(*module, data))
    rows[prediction.dataloader_idx] += static_cast<double>(prediction.rows.size(0));
  BOOST_TEST(over_ranks(trainer.session(), rows[0]) == 11);
  BOOST_TEST(over_ranks(trainer.session(), rows[1]) == 5);
}

// A part that was in eval mode in training, as a frozen BatchNorm is, is so afterwards, and the hooks may change modes for a pass.
BOOST_AUTO_TEST_CASE(parts_keep_their_modes) {
  struct Frozen : Toy {
    Frozen() { norm = register_module("norm", torch::nn::BatchNorm1d(4)); }
    void on_train_start() override { norm->eval(); }
    void on_validation_model_eval() override { net->train(); }
    void on_validation_model_train() override { norm_after = norm->is_training(), restored++; }
    void validation_step(const Batch&) override { BOOST_TEST((!is_training() && net->is_training() && !norm->is_training())); }
    void on_train_epoch_end() override { BOOST_TEST((is_training() && net->is_training() && !norm->is_training())); }
    torch::nn::BatchNorm1d norm{nullptr};
    bool norm_after = true;
    int restored = 0;
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2, .num_sanity_val_steps = 0}, runtime());
  const auto module = trainer.build<Frozen>();
  trainer.fit(*module, data);
  BOOST_TEST(module->restored == 2);
  BOOST_TEST(!module->norm_after);
}

BOOST_AUTO_TEST_CASE(a_prediction_has_no_metrics) {
  if (runtime().size() > 1) return;  // an exception inside a run ends the communicator
  struct Logs : Toy {
    levin::Tensor predict_step(const Batch& batch) override { return log("loss", 1.0), net(batch["x"]); }
  } module;
  ToyData data;
  levin::Trainer trainer({}, runtime());
  check_throws<levin::UsageError>([&] { trainer.predict(module, data); }, {"predict_step logs", "validation_step"});
}

BOOST_AUTO_TEST_SUITE_END()
