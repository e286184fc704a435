#include "levin/callbacks/throughput_monitor.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "levin/comm/host_values.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "require_logger.h"

namespace levin {
namespace {

// The fastest of several products, so that other load on the machine matters little.
double measure_flops(const at::TensorOptions& options) {
  constexpr int64_t size = 1024;
  constexpr int rounds = 5;
  const at::NoGradGuard no_grad;
  const Tensor a = at::ones({size, size}, options);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < rounds; i++) {
    const auto begin = std::chrono::steady_clock::now();
    at::matmul(a, a)[0][0].item<double>();  // a device has finished when it gives a number
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return 2.0 * size * size * size / best;
}

}  // namespace

ThroughputMonitor::ThroughputMonitor(ThroughputMonitorConfig config) : config_(config) { check_config(config_); }

void ThroughputMonitor::on_train_start() {
  detail::require_logger(trainer(), "a throughput monitor");
  totals_ = {};
  window_.assign(1, {});
  logged_step_ = -1;
  available_ = 0;
  resume();  // a training that resumes within an epoch does not begin one
}

void ThroughputMonitor::pause() {
  if (since_) totals_.seconds += std::chrono::duration<double>(Clock::now() - *since_).count();
  since_.reset();
}

void ThroughputMonitor::on_train_batch_end(const Tensor&, const Batch& batch, int64_t) {
  pause();
  totals_.batches++;
  if (!batch.padding()) {
    totals_.samples += static_cast<double>(batch.size());
    if (const auto* counts = dynamic_cast<const CountsWork*>(&module())) {
      totals_.items += counts->items_per_batch(batch);
      totals_.flops += counts->flops_per_batch(batch);
    }
  }
  window_.push_back(totals_);
  while (std::ssize(window_) > config_.window_size + 1) window_.pop_front();
  const int64_t step = trainer().global_step();
  if (step != logged_step_ && step > 0 && step % *trainer().config().log_every_n_steps == 0) {
    logged_step_ = step;
    log();
  }
  resume();
}

// The same on all ranks, which measure at the same time.
double ThroughputMonitor::find_available_flops() {
  if (config_.available_flops) return *config_.available_flops;
  const auto parameters = module().parameters();
  const auto options = parameters.empty() ? at::TensorOptions(at::kFloat) : parameters.front().options();
  auto& session = trainer().session();
  return all_sum(session.communicator(), measure_flops(options.requires_grad(false))) / session.size();
}

void ThroughputMonitor::log() {
  auto& session = trainer().session();
  const Totals &begin = window_.front(), &end = window_.back();
  const auto& mesh = session.mesh();
  const double data_ranks = mesh.data().size(), devices = session.size(), seconds = end.seconds - begin.seconds;
  // Each rank has its own clock; the sum of the rates is the job's.
  const auto sum =
      all_sum(mesh.data_communicator(),
              std::vector<double>{(end.batches - begin.batches) / seconds, (end.samples - begin.samples) / seconds,
                                  (end.items - begin.items) / seconds, (end.flops - begin.flops) / seconds, end.samples, end.seconds});
  if (sum[3] > 0 && available_ == 0) available_ = find_available_flops();
  if (!std::isfinite(sum[0])) return;  // a rank's window has no time, by its clock
  NamedValues values{{"train/time", sum[5] / data_ranks}, {"train/batches", end.batches}, {"train/samples", sum[4]}};
  constexpr const char* names[] = {"batches_per_sec", "samples_per_sec", "items_per_sec", "flops_per_sec"};
  for (size_t i = 0; i < std::size(names); i++) {
    if (i >= 2 && sum[i] == 0) continue;  // the module does not say
    values.emplace_back(std::string("train/") + names[i], sum[i]);
    values.emplace_back(std::string("train/device/") + names[i], sum[i] / devices);
  }
  if (available_ > 0) values.emplace_back("train/device/mfu", sum[3] / devices / available_);
  trainer().log_metrics(values);
}

}  // namespace levin
