#include "levin/callbacks/gradient_accumulation_scheduler.h"

#include <fmt/format.h>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"
#include "levin/trainer/trainer.h"

namespace levin {

void GradientAccumulationSchedulerConfig::validate() const {
  if (scheduling.empty())
    throw ConfigError("a gradient accumulation scheduler without scheduling", "give one such as {0: 8, 4: 2}", "callbacks");
  for (const auto& [epoch, batches] : scheduling)
    if (const auto number = parse_number<int64_t>(epoch); !number || *number < 0)
      throw ConfigError(fmt::format("scheduling has {} for an epoch", quote(epoch)), "give whole numbers from 0 on, as in {0: 8, 4: 2}",
                        "callbacks");
}

GradientAccumulationScheduler::GradientAccumulationScheduler(const GradientAccumulationSchedulerConfig& config) {
  check_config(config);
  batches_from_[0] = 1;
  for (const auto& [epoch, batches] : config.scheduling) batches_from_[*parse_number<int64_t>(epoch)] = batches;
}

void GradientAccumulationScheduler::setup(Stage stage) {
  if (const auto batches = trainer().config().accumulate_grad_batches; stage == Stage::fit && batches != 1)
    throw ConfigError(fmt::format("trainer.accumulate_grad_batches is {}, and a gradient accumulation scheduler is given", batches),
                      "remove one of the two", "callbacks");
}

std::optional<int64_t> GradientAccumulationScheduler::accumulate_grad_batches(int64_t epoch) const {
  return std::prev(batches_from_.upper_bound(epoch))->second;
}

}  // namespace levin
