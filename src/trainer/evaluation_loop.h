#pragma once
#include <memory>
#include <vector>

#include "data_wait.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/prediction.h"
#include "run.h"

namespace levin {

/// One pass without gradients over the data of validate, test or predict: every sample of every loader once, on any number of ranks.
class EvaluationLoop {
 public:
  /// ConfigError when the data module has no data for the stage, unless it is validation during a fit.
  EvaluationLoop(Run& run, Stage stage);
  ~EvaluationLoop();
  EvaluationLoop(const EvaluationLoop&) = delete;
  EvaluationLoop& operator=(const EvaluationLoop&) = delete;

  bool has_data() const noexcept { return !sources_.empty(); }
  /// Whether a pass has a batch at all.
  bool has_batches() const noexcept;
  /// As many batches of each loader as configured. The values are logged before the pass's last hook, which may read them in the
  /// report. Leaves the module in the mode it was in. A pass that may be interrupted ends after the batch in which any rank must exit,
  /// and gives no values.
  NamedValues run(bool may_be_interrupted = true);
  bool interrupted() const noexcept { return interrupted_; }
  /// At most `most` batches of each loader (-1: as many as configured), of which nothing is kept. The values are not logged.
  NamedValues sanity_check(int64_t most);
  std::vector<Prediction> take_predictions() { return std::move(predictions_); }

 private:
  struct StageHooks;
  /// A loader, and how many of its batches are wanted.
  struct Source {
    std::unique_ptr<Loader> loader;
    int64_t batches;
  };
  NamedValues pass(int64_t most, bool log, bool may_be_interrupted);
  bool must_exit_before(int64_t batch_idx, int64_t batches, Loader& loader);
  void run_source(size_t dataloader_idx, int64_t batches);
  void step(const Batch& batch, int64_t batch_idx);

  Run& run_;
  Session& session_;
  Module& module_;
  Stage stage_;
  const StageHooks& moments_;
  std::vector<Source> sources_;
  DataWait data_wait_;
  LogCollection logs_{/*training=*/false};
  std::vector<Prediction> predictions_;
  bool may_be_interrupted_ = false, interrupted_ = false;
};

}  // namespace levin
