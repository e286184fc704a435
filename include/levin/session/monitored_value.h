#pragma once
#include <string>
#include <string_view>

#include "levin/core/named_values.h"
#include "levin/optim/lr_schedules.h"

namespace levin {

/// The name of a value that is logged by step and by epoch: "loss" as loss_step or loss_epoch, "loss/dataloader_idx_1" as
/// loss_step/dataloader_idx_1.
std::string forked_name(std::string_view name, Interval interval);

/// The value that a monitored name stands for, as in Lightning; null: none. A value logged under this very name comes first. One that is
/// logged by step and by epoch has the plain name, too: that of `preferred` if it is logged, else the other.
const double* find_monitored(const NamedValues& values, std::string_view name, Interval preferred);

}  // namespace levin
