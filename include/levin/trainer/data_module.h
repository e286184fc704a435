#pragma once
#include <memory>
#include <utility>

#include "levin/data/data_loader.h"
#include "levin/trainer/hooks.h"

namespace levin {

/// A data set and how to make batches of it; the Trainer cuts it over the ranks.
struct DataLoaderSpec {
  std::shared_ptr<const Dataset> dataset;
  DataLoaderOptions options;
};

/// Where a training's data come from.
class DataModule {
 public:
  virtual ~DataModule() = default;
  /// Once in the object's life, on rank 0 alone, before any rank's setup: convert or unpack what is not there yet; keep nothing in
  /// members.
  virtual void prepare_data() {}
  /// For the Trainer: prepare_data, unless it was called before.
  void prepare_once() {
    if (!std::exchange(prepared_, true)) prepare_data();
  }
  /// On every rank: open the data sets that the stage needs.
  virtual void setup(Stage) {}
  virtual void teardown(Stage) {}

  virtual DataLoaderSpec train_dataloader() { return {}; }
  /// Evaluation takes every sample once, in the data set's order, whatever options.shuffle and drop_last say.
  virtual DataLoaderSpec val_dataloader() { return {}; }
  virtual DataLoaderSpec test_dataloader() { return {}; }
  virtual DataLoaderSpec predict_dataloader() { return test_dataloader(); }

 private:
  bool prepared_ = false;
};

}  // namespace levin
