#include "levin/callbacks/gradient_norm_monitor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "levin/comm/host_values.h"
#include "levin/trainer/trainer.h"
#include "require_logger.h"

namespace levin {
namespace {

// As Python writes a float.
std::string float_text(double value) {
  const auto text = fmt::format("{}", value);
  return std::isinf(value) || text.find_first_of(".e") != std::string::npos ? text : text + ".0";
}

}  // namespace

GradientNormMonitor::GradientNormMonitor(const GradientNormMonitorConfig& config) : config_(config) { check_config(config_); }

void GradientNormMonitor::on_train_start() { detail::require_logger(trainer(), "a gradient norm monitor"); }

// A shard may have replicas: a parameter's sum of powers over all ranks is divided by how many times its elements are held.
void GradientNormMonitor::on_before_optimizer_step(std::string_view optimizer) {
  const int64_t step = trainer().global_step();
  if (optimizer.empty() || (step + 1) % *trainer().config().log_every_n_steps != 0) return;
  auto& session = trainer().session();
  const auto& parameters = session.strategy().parameters();
  std::map<std::string_view, size_t> index;
  for (size_t i = 0; i < parameters.size(); i++) index.emplace(parameters[i].name, i);
  const bool largest = std::isinf(config_.norm_type);
  std::vector<double> powers(parameters.size()), held(parameters.size());
  for (const auto& [name, slice, offset] : session.gradients(session.optimizer_index(optimizer))) {
    const size_t i = index.at(name);
    const auto norm = slice.to(at::kDouble).norm(config_.norm_type).item<double>();
    powers[i] = largest ? std::max(powers[i], norm) : powers[i] + std::pow(norm, config_.norm_type);
    held[i] += static_cast<double>(slice.numel());
  }
  auto& ranks = session.communicator();
  powers = largest ? all_max(ranks, std::move(powers)) : all_sum(ranks, std::move(powers));
  held = all_sum(ranks, std::move(held));

  const auto prefix = fmt::format("grad_{}_norm", float_text(config_.norm_type));
  NamedValues values;
  double total = 0;
  for (size_t i = 0; i < parameters.size(); i++) {
    if (held[i] == 0) continue;  // frozen, or another optimizer's
    const auto& [name, tensor] = parameters[i];
    const auto elements = static_cast<double>(std::max<int64_t>(1, tensor.numel()));
    const double power = largest ? powers[i] : powers[i] * elements / held[i];
    total = largest ? std::max(total, power) : total + power;
    if (config_.per_parameter)
      values.emplace_back(fmt::format("{}/{}", prefix, name), largest ? power : std::pow(power, 1 / config_.norm_type));
  }
  const bool several = session.optimizers().size() > 1;
  values.emplace_back(prefix + "_total" + (several ? fmt::format("/{}", optimizer) : ""),
                      largest ? total : std::pow(total, 1 / config_.norm_type));
  trainer().log_metrics(values, step);
}

}  // namespace levin
