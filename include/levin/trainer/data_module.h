#pragma once
#include <memory>

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
  /// On rank 0 alone, before any rank's setup, at the start of each fit, validate, test and predict: convert or unpack what is not there
  /// yet; keep nothing in members.
  virtual void prepare_data() {}
  /// On every rank: open the data sets that the stage needs.
  virtual void setup(Stage) {}
  virtual void teardown(Stage) {}

  virtual DataLoaderSpec train_dataloader() { return {}; }
  /// Evaluation takes every sample once, in the data set's order, whatever options.shuffle and drop_last say.
  virtual DataLoaderSpec val_dataloader() { return {}; }
  virtual DataLoaderSpec test_dataloader() { return {}; }
  virtual DataLoaderSpec predict_dataloader() { return test_dataloader(); }
};

}  // namespace levin
