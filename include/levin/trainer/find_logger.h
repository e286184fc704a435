#pragma once
#include "levin/trainer/trainer.h"

namespace levin {

/// The Trainer's first logger of class T; null on ranks other than 0, where none is configured, and in a fast_dev_run. In a hook:
///
///     if (auto* board = find_logger<TensorBoardLogger>(trainer()))
///       board->add_histogram("weights", net_->weight, trainer().global_step());
///
/// A collective belongs before the question, since only rank 0 gets a logger.
template <class T>
T* find_logger(const Trainer& trainer) {
  if (!trainer.config().logger.enabled()) return nullptr;
  for (const auto& logger : trainer.loggers())
    if (auto* found = dynamic_cast<T*>(logger.get())) return found;
  return nullptr;
}

}  // namespace levin
