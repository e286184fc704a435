#include "components.h"

#include "levin/callbacks/base_finetuning.h"
#include "levin/callbacks/batch_size_finder.h"
#include "levin/callbacks/device_stats_monitor.h"
#include "levin/callbacks/divergence_check.h"
#include "levin/callbacks/early_stopping.h"
#include "levin/callbacks/ema_weight_averaging.h"
#include "levin/callbacks/gradient_accumulation_scheduler.h"
#include "levin/callbacks/gradient_norm_monitor.h"
#include "levin/callbacks/learning_rate_finder.h"
#include "levin/callbacks/learning_rate_monitor.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/callbacks/model_pruning.h"
#include "levin/callbacks/model_summary.h"
#include "levin/callbacks/on_exception_checkpoint.h"
#include "levin/callbacks/prediction_writer.h"
#include "levin/callbacks/progress_bar.h"
#include "levin/callbacks/spike_detection.h"
#include "levin/callbacks/stochastic_weight_averaging.h"
#include "levin/callbacks/throughput_monitor.h"
#include "levin/callbacks/timer.h"
#include "levin/callbacks/weight_averaging.h"
#include "levin/core/error.h"
#include "levin/loggers/csv_logger.h"
#include "levin/loggers/json_logger.h"
#include "levin/loggers/service_loggers.h"
#include "levin/loggers/tensorboard_logger.h"
#include "levin/profilers/nvtx_profiler.h"
#include "levin/profilers/pytorch_profiler.h"
#include "levin/profilers/simple_profiler.h"

namespace levin::cli {
namespace {

template <class T>
void add_default(Trainer& trainer, bool enabled, const std::string& option, const char* kind, bool several = false) {
  const auto count = trainer.count_callbacks<T>();
  if (count > 1 && !several) throw ConfigError(fmt::format("trainer.callbacks has {} {}s", count, kind), "name one", "cli");
  if (count > 0 && !enabled)
    throw ConfigError(fmt::format("trainer.callbacks has a {}, but trainer.{} is false", kind, option), "remove one of the two", "cli");
  if (count == 0 && enabled) trainer.add_callback(std::make_shared<T>());
}

}  // namespace

CallbackRegistry known_callbacks(const Program& program) {
  CallbackRegistry registry;
  registry.add<BackboneFinetuning>();
  registry.add<BatchSizeFinder>();
  registry.add<DeviceStatsMonitor>();
  registry.add<DivergenceCheck>();
  registry.add<EarlyStopping>();
  registry.add<EMAWeightAveraging>();
  registry.add<GradientAccumulationScheduler>();
  registry.add<GradientNormMonitor>();
  registry.add<LearningRateFinder>();
  registry.add<LearningRateMonitor>();
  registry.add<ModelCheckpoint>();
  registry.add<OnExceptionCheckpoint>();
  registry.add<ModelPruning>();
  registry.add<ModelSummary>();
  registry.add<PredictionWriter>();
  registry.add<ProgressBar>();
  registry.add<SpikeDetection>();
  registry.add<StochasticWeightAveraging>();
  registry.add<ThroughputMonitor>();
  registry.add<Timer>();
  registry.add<WeightAveraging>();
  for (const auto& add : program.add_callbacks) add(registry);
  return registry;
}

LoggerRegistry known_loggers(const Program& program) {
  LoggerRegistry registry;
  registry.add_default<CSVLogger>();
  registry.add<CometLogger>();
  registry.add<JSONLogger>();
  registry.add<MLFlowLogger>();
  registry.add<NeptuneLogger>();
  registry.add<TensorBoardLogger>();
  registry.add<WandbLogger>();
  for (const auto& add : program.add_loggers) add(registry);
  return registry;
}

ProfilerRegistry known_profilers(const Program& program) {
  ProfilerRegistry registry;
  registry.add<NVTXProfiler>();
  registry.add<PyTorchProfiler>();
  registry.add<SimpleProfiler>();
  for (const auto& add : program.add_profilers) add(registry);
  return registry;
}

void add_default_callbacks(Trainer& trainer, bool has_folder) {
  const auto& config = trainer.config();
  add_default<ModelSummary>(trainer, *config.enable_model_summary, "enable_model_summary", "model summary");
  if (has_folder || trainer.count_callbacks<ModelCheckpoint>() > 0)
    add_default<ModelCheckpoint>(trainer, *config.enable_checkpointing, "enable_checkpointing", "model checkpoint", /*several=*/true);
  if (has_folder && trainer.count_callbacks<PredictionWriter>() == 0) trainer.add_callback(std::make_shared<PredictionWriter>());
  add_default<ProgressBar>(trainer, *config.enable_progress_bar, "enable_progress_bar", "progress bar");
}

}  // namespace levin::cli
