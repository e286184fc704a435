#include "levin/callbacks/learning_rate_monitor.h"

#include <fmt/format.h>

#include <map>

#include "levin/trainer/trainer.h"
#include "require_logger.h"

namespace levin {

std::vector<std::string> LearningRateMonitor::names(const std::vector<OptimizerValues>& optimizers) {
  std::vector<std::string> names(optimizers.size());
  std::map<std::string, int> seen;
  for (const bool scheduled : {true, false})  // as Lightning: those with a schedule are counted first
    for (size_t i = 0; i < optimizers.size(); i++) {
      if (optimizers[i].interval.has_value() != scheduled) continue;
      const int before = seen[optimizers[i].name]++;
      names[i] = "lr-" + optimizers[i].name + (before > 0 ? fmt::format("-{}", before) : "");
    }
  return names;
}

void LearningRateMonitor::on_train_start() {
  last_step_ = -1;
  detail::require_logger(trainer(), "a learning rate monitor");
  if (!config_.log_momentum || trainer().session().rank() != 0) return;
  for (const auto& optimizer : trainer().session().optimizer_values())
    if (!optimizer.groups.empty() && !optimizer.groups.front().momentum)
      trainer().session().runtime().log().warning(
          "[callbacks] log_momentum: {} {}", optimizer.name,
          optimizer.known ? "has no momentum, and 0 is logged" : "does not report it, and nothing is logged");
}

void LearningRateMonitor::on_train_epoch_start() {
  if (config_.logging_interval != Interval::step) log(Interval::epoch);
}

void LearningRateMonitor::on_train_batch_start(const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (config_.logging_interval == Interval::epoch || step == last_step_ || (step + 1) % *trainer().config().log_every_n_steps != 0) return;
  last_step_ = step;
  log(Interval::step);
}

void LearningRateMonitor::log(Interval due) {
  const auto optimizers = trainer().session().optimizer_values();
  const auto names = LearningRateMonitor::names(optimizers);
  NamedValues values;
  for (size_t i = 0; i < optimizers.size(); i++) {
    const auto& [name, known, interval, groups] = optimizers[i];
    if (!config_.logging_interval && interval && *interval != due) continue;
    for (size_t group = 0; group < groups.size(); group++) {
      const std::string full = names[i] + (groups.size() > 1 ? fmt::format("/pg{}", group + 1) : "");
      values.emplace_back(full, groups[group].lr);
      if (config_.log_momentum && known) values.emplace_back(full + "-momentum", groups[group].momentum.value_or(0));
      if (config_.log_weight_decay && known) values.emplace_back(full + "-weight_decay", groups[group].weight_decay.value_or(0));
    }
  }
  trainer().log_metrics(values, trainer().global_step());
}

}  // namespace levin
