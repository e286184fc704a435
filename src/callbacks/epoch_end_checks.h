#pragma once
#include <optional>

#include "levin/trainer/trainer.h"

namespace levin::detail {

/// Whether a callback that monitors a value looks at it at the end of a training epoch, in place of after each validation. `option`
/// decides where there is a validation; null: at the end of an epoch if every epoch has one validation.
inline bool checks_at_epoch_end(const Trainer& trainer, std::optional<bool> option) {
  const auto& config = trainer.config();
  const bool one_validation_an_epoch = config.val_check_interval == CheckInterval() && config.check_val_every_n_epoch == 1;
  return !trainer.validates() || option.value_or(one_validation_an_epoch);
}

}  // namespace levin::detail
