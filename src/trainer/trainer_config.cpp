#include "levin/trainer/trainer_config.h"

#include "levin/core/error.h"
#include "levin/core/number_text.h"

namespace levin {

std::optional<FastDevRun> FastDevRun::from_text(std::string_view text) {
  if (text == "true") return FastDevRun{1};
  if (text == "false") return FastDevRun{0};
  const auto batches = parse_number<int64_t>(text);
  return batches && *batches >= 0 ? std::optional(FastDevRun{*batches}) : std::nullopt;
}

std::string FastDevRun::to_text() const { return batches == 0 ? "false" : batches == 1 ? "true" : std::to_string(batches); }

std::optional<CheckInterval> CheckInterval::from_text(std::string_view text) {
  if (const auto limit = Limit::from_text(text)) return *limit;
  if (parse_number<double>(text)) return std::nullopt;  // a time names its unit
  const auto seconds = Seconds::from_text(text);
  return seconds ? std::optional<CheckInterval>(*seconds) : std::nullopt;
}

std::string CheckInterval::to_text() const {
  return std::visit([](const auto& alternative) { return alternative.to_text(); }, value);
}

void TrainerConfig::validate() const {
  const auto refuse = [](const std::string& message, const std::string& remedy) { throw ConfigError(message, remedy, "trainer"); };
  if (val_check_interval == CheckInterval(Limit::batches(0)) || val_check_interval == CheckInterval(Limit::fraction(0)) ||
      (val_check_interval.time() && val_check_interval.time()->value <= 0))
    refuse("val_check_interval is 0", "give a number of batches, a part of an epoch such as 0.5 (1.0 is once an epoch), or a time");
  if (!check_val_every_n_epoch && val_check_interval.limit() && val_check_interval.limit()->is_fraction())
    refuse(fmt::format("check_val_every_n_epoch is null, and val_check_interval is {} of an epoch", val_check_interval.to_text()),
           "give val_check_interval as a number of batches or a time");
  if (!barebones) return;
  const auto conflict = [&](bool given, const char* option) {
    if (given) refuse(fmt::format("barebones with {}", option), fmt::format("leave out one of them: {} costs speed", option));
  };
  conflict(enable_progress_bar.value_or(false), "enable_progress_bar");
  conflict(enable_model_summary.value_or(false), "enable_model_summary");
  conflict(enable_checkpointing.value_or(false), "enable_checkpointing");
  conflict(num_sanity_val_steps.value_or(0) != 0, "num_sanity_val_steps");
  conflict(log_every_n_steps.has_value(), "log_every_n_steps");
  conflict(fast_dev_run.batches > 0, "fast_dev_run");
  conflict(detect_anomaly, "detect_anomaly");
  conflict(profiler.enabled(), "profiler");
  conflict(logger.enabled() && !logger.by_default(), "logger");
}

TrainerConfig TrainerConfig::resolved() const {
  check_config(*this);
  TrainerConfig config = *this;
  config.enable_progress_bar = enable_progress_bar.value_or(!barebones);
  config.enable_model_summary = enable_model_summary.value_or(!barebones);
  config.enable_checkpointing = enable_checkpointing.value_or(!barebones);
  config.num_sanity_val_steps = num_sanity_val_steps.value_or(barebones ? 0 : 2);
  config.log_every_n_steps = log_every_n_steps.value_or(50);
  config.max_epochs = max_epochs.value_or(max_steps < 0 && !max_time ? 1000 : -1);
  config.min_epochs = min_epochs.value_or(min_steps ? 1 : 0);
  config.min_steps = min_steps.value_or(0);
  if (const int64_t batches = fast_dev_run.batches; batches > 0) {
    for (Limit* limit : {&config.limit_train_batches, &config.limit_val_batches, &config.limit_test_batches, &config.limit_predict_batches})
      *limit = Limit::batches(batches);
    config.max_epochs = 1;
    config.max_steps = -1;
    config.min_epochs = config.min_steps = 0;
    config.num_sanity_val_steps = 0;
    config.val_check_interval = {};
    config.check_val_every_n_epoch = 1;
    config.logger = false;
  }
  if (barebones) config.logger = false;
  if (overfit_batches.number() > 0) config.limit_train_batches = config.limit_val_batches = overfit_batches;
  return config;
}

}  // namespace levin
