#include "levin/optim/reduce_lr_on_plateau.h"

#include <algorithm>
#include <cmath>

namespace levin {
namespace {

bool better(const ReduceLROnPlateau& config, double value, double best) {
  const double margin = config.threshold_mode == ThresholdMode::rel ? best * config.threshold : config.threshold;
  return config.mode == MonitorMode::min ? value < best - margin : value > best + margin;
}

}  // namespace

PlateauState observe(const ReduceLROnPlateau& config, PlateauState state, double value) {
  if (!std::isnan(value) && (!state.best || better(config, value, *state.best))) {
    state.best = value;
    state.bad = 0;
  } else {
    state.bad++;
  }
  if (state.cooldown > 0) {
    state.cooldown--;
    state.bad = 0;
  }
  if (state.bad > config.patience) {
    state.reductions++;
    state.cooldown = config.cooldown;
    state.bad = 0;
  }
  return state;
}

double reduced_lr(const ReduceLROnPlateau& config, double lr, int64_t reductions) {
  for (; reductions > 0; reductions--) {
    const double next = std::max(lr * config.factor, config.min_lr);
    if (lr - next <= config.eps) break;
    lr = next;
  }
  return lr;
}

}  // namespace levin
