#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/data/combined_loader.h"
#include "levin/data/data_loader.h"
#include "levin/data/iterable_dataset.h"
#include "levin/session/state_dict.h"
#include "levin/trainer/hooks.h"

namespace levin {

class Session;
class Trainer;

/// A data set and how to make batches of it; the Trainer cuts it over the ranks. Or a stream, of which each rank has its own part.
struct DataLoaderSpec {
  DataLoaderSpec() = default;
  DataLoaderSpec(std::shared_ptr<const Dataset> data, const DataLoaderOptions& how) : dataset(std::move(data)), options(how) {}
  DataLoaderSpec(std::shared_ptr<const IterableDataset> data, const DataLoaderOptions& how) : stream(std::move(data)), options(how) {}
  /// Several data sets, for a training.
  DataLoaderSpec(std::vector<CombinedPart> several, CombinedMode how) : parts(std::move(several)), mode(how) {}
  bool has_data() const noexcept { return dataset || stream || !parts.empty(); }

  std::shared_ptr<const Dataset> dataset;
  std::shared_ptr<const IterableDataset> stream;
  DataLoaderOptions options;
  std::vector<CombinedPart> parts;
  CombinedMode mode = CombinedMode::min_size;
};

/// The data of a training. Hooks run in this order: prepare_data, setup, the dataloaders, teardown.
class DataModule {
 public:
  virtual ~DataModule() = default;
  /// Downloads, converts or unpacks data. Called once in the object's life, before any rank's setup, on rank 0 or on the first rank of each
  /// host. Not collective; must not set members, which other ranks would lack.
  virtual void prepare_data() {}
  /// Whether each host prepares its own data (true), or rank 0 for all (false). Null: each host does where the hosts do not share
  /// prepare_data_directory(); rank 0 for all where that is empty.
  virtual std::optional<bool> prepare_data_per_node() const { return std::nullopt; }
  /// The directory that prepare_data writes to.
  virtual std::filesystem::path prepare_data_directory() const { return {}; }
  /// For the Trainer: prepare_data, unless it was called before.
  void prepare_once() {
    if (!std::exchange(prepared_, true)) prepare_data();
  }
  /// On every rank, before and after a stage: open and close its data sets. May be collective.
  virtual void setup(Stage) {}
  virtual void teardown(Stage) {}
  /// State to save in checkpoints, and its restoration: after setup, before any loader is created, also for evaluations of a checkpoint.
  /// The same on all ranks: rank 0's is saved.
  virtual StateDict state_dict() const { return {}; }
  virtual void load_state_dict(const StateDict&) {}
  /// On the rank whose run ends with an error.
  virtual void on_exception(const std::string& /*message*/) {}

  virtual DataLoaderSpec train_dataloader() { return {}; }
  /// Evaluation takes every sample once, in the data set's order, whatever options.shuffle and drop_last say.
  virtual DataLoaderSpec val_dataloader() { return {}; }
  virtual DataLoaderSpec test_dataloader() { return {}; }
  virtual DataLoaderSpec predict_dataloader() { return test_dataloader(); }
  /// Several loaders, run one after the other; Batch::dataloader_idx is the loader's index.
  virtual std::vector<DataLoaderSpec> val_dataloaders() { return {val_dataloader()}; }
  virtual std::vector<DataLoaderSpec> test_dataloaders() { return {test_dataloader()}; }
  virtual std::vector<DataLoaderSpec> predict_dataloaders() { return {predict_dataloader()}; }

  /// On every batch, in this order, before its on_..._batch_start: on the CPU as loaded; moves it to the session's device and dtype; on the
  /// device.
  virtual void on_before_batch_transfer(Batch&) {}
  virtual void transfer_batch_to_device(Batch& batch, const Session& session);
  virtual void on_after_batch_transfer(Batch&) {}

  /// For the Trainer: the current run, or null.
  void attach(Trainer* trainer) noexcept { trainer_ = trainer; }

 protected:
  /// The Trainer of the current run, from prepare_data to teardown: setup may use its communicator. UsageError outside of a run.
  Trainer& trainer() const;

 private:
  bool prepared_ = false;
  Trainer* trainer_ = nullptr;
};

}  // namespace levin
