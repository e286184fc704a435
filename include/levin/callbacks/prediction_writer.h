#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/prediction.h"

namespace levin {

/// When predictions are written.
enum class WriteInterval { batch, epoch, batch_and_epoch };
LEVIN_ENUM(WriteInterval, (batch, "batch"), (epoch, "epoch"), (batch_and_epoch, "batch_and_epoch"))

/// A callback that writes what predict_step returns, as Lightning's: after each batch, at the end of the epoch, or both. With `batch` alone
/// the predictions are not kept, and Trainer::predict returns none.
class BasePredictionWriter : public Callback {
 public:
  explicit BasePredictionWriter(WriteInterval write_interval) : interval_(write_interval) {}

  void on_predict_start() override;
  void on_predict_batch_end(const Tensor& prediction, const Batch& batch, int64_t batch_idx) override;
  void on_predict_epoch_end() override;

 protected:
  /// Called on all ranks for the same batch. This rank's part has no indices if it had no samples.
  virtual void write_on_batch_end(const Prediction& /*prediction*/, const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  /// This rank's batches, in the order of the loaders; as many on all ranks.
  virtual void write_on_epoch_end(const std::vector<Prediction>& /*predictions*/) {}
  WriteInterval write_interval() const noexcept { return interval_; }

 private:
  WriteInterval interval_;
  std::vector<Prediction> predictions_;
};

/// Lightning's arguments of a BasePredictionWriter.
struct PredictionWriterConfig {
  WriteInterval write_interval = WriteInterval::batch;
  std::filesystem::path output_dir = {};
};
LEVIN_CONFIG(PredictionWriterConfig, (write_interval, "when: after each batch, which needs the least memory, or at the end"),
             (output_dir, "folder of predictions.h5; empty: the run's"))
LEVIN_CHOICE(PredictionWriterConfig, "prediction_writer")

/// Writes the predictions of all ranks into output_dir/predictions.h5: "index" [n], int64, and "prediction" [n, values per sample],
/// float64, each sample once and in the order of the samples, on any number of ranks; with several loaders, in groups "dataloader_idx_0"
/// and so on. The rows travel to rank 0, which writes them to .predictions.h5.partial and renames it at the end: a run that is stopped
/// leaves no file. `epoch` keeps all predictions in memory first. Samples of a stream, which has no order, are sorted by index. Nothing is
/// written in a fast_dev_run. ConfigError without a folder; IoError, on all ranks, where the file cannot be written.
class PredictionWriter : public BasePredictionWriter {
 public:
  using Config = PredictionWriterConfig;
  explicit PredictionWriter(const PredictionWriterConfig& config = {});
  ~PredictionWriter() override;

  void on_predict_start() override;
  void on_predict_epoch_end() override;
  void teardown(Stage stage) override;

 protected:
  void write_on_batch_end(const Prediction& prediction, const Batch& batch, int64_t batch_idx) override;
  void write_on_epoch_end(const std::vector<Prediction>& predictions) override;

 private:
  class File;
  void append(const Prediction& prediction);

  PredictionWriterConfig config_;
  bool writes_ = false;
  std::unique_ptr<File> file_;  // on rank 0
};

}  // namespace levin
