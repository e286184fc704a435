#pragma once
#include <vector>

#include "levin/trainer/trainer.h"

namespace levin {

/// The Trainer's loggers of class T, in their order; none on ranks other than 0, and in a fast_dev_run. In a hook:
///
///     for (auto* logger : find_loggers<MediaLogger>(trainer()))
///       logger->add_histogram("weights", net_->weight, trainer().global_step());
///
/// A collective belongs before the question, since only rank 0 gets loggers.
template <class T>
std::vector<T*> find_loggers(const Trainer& trainer) {
  std::vector<T*> found;
  if (!trainer.config().logger.enabled()) return found;
  for (const auto& logger : trainer.loggers())
    if (auto* match = dynamic_cast<T*>(logger.get())) found.push_back(match);
  return found;
}

/// The first of them; null where there is none.
template <class T>
T* find_logger(const Trainer& trainer) {
  const auto found = find_loggers<T>(trainer);
  return found.empty() ? nullptr : found.front();
}

}  // namespace levin
