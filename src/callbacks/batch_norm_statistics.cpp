#include "batch_norm_statistics.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "batch_norm_layers.h"
#include "levin/comm/host_values.h"
#include "levin/data/loader.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {
namespace {

// The statistics of a layer of any number of dimensions.
struct RunningStatistics {
  Tensor mean, variance;
  torch::nn::BatchNormOptions* options;
  std::optional<double> momentum;
};

std::vector<RunningStatistics> statistics_of(const Module& module) {
  std::vector<RunningStatistics> all;
  for (const auto& part : module.modules())
    visit_batch_norm(*part, [&](auto& norm) {
      if (norm.running_mean.defined()) all.push_back({norm.running_mean, norm.running_var, &norm.options, norm.options.momentum()});
    });
  return all;
}

// The pass logs nothing.
class NoLogs {
 public:
  explicit NoLogs(Module& module) : module_(module), before_(module.logs()) { module.attach_logs(nullptr); }
  ~NoLogs() { module_.attach_logs(before_); }
  NoLogs(const NoLogs&) = delete;
  NoLogs& operator=(const NoLogs&) = delete;

 private:
  Module& module_;
  LogCollection* before_;
};

int64_t most_batches(const Loader& loader, const Limit& limit) {
  constexpr int64_t all = std::numeric_limits<int64_t>::max();
  const auto length = loader.length();
  if (!length && limit.is_fraction()) return all;
  return limit.of(length.value_or(all));
}

void add_to_host(std::vector<double>& sums, const Tensor& values, double weight) {
  const Tensor host = values.detach().cpu().to(at::kDouble).contiguous();
  const double* numbers = host.const_data_ptr<double>();
  for (int64_t i = 0; i < host.numel(); i++) sums.push_back(numbers[i] * weight);
}

void set_from_host(Tensor values, const std::vector<double>& sums, size_t& next, double total) {
  const Tensor host = at::empty(values.sizes(), at::TensorOptions(at::kDouble));
  for (int64_t i = 0; i < host.numel(); i++) host.mutable_data_ptr<double>()[i] = sums[next++] / total;
  values.copy_(host);
}

}  // namespace

bool has_batch_norm(const Module& module) { return !statistics_of(module).empty(); }

void recompute_batch_norm(Trainer& trainer, Module& module) {
  const at::NoGradGuard no_grad;
  const NoLogs no_logs(module);
  auto& session = trainer.session();
  auto& data = *trainer.datamodule();
  auto statistics = statistics_of(module);
  std::vector<double> sums;  // of the batches' statistics times their samples
  double samples = 0;
  for (auto& layer : statistics) layer.options->momentum(1.0);  // the running statistics are those of the last batch
  const bool was_training = module.is_training();
  module.train();

  const auto loader = trainer.training_loader();
  loader->set_epoch(trainer.current_epoch());
  const int64_t most = most_batches(*loader, trainer.config().limit_train_batches);
  for (int64_t i = 0; i < most; i++) {
    Batch* batch = loader->next();
    if (!batch) break;
    data.on_before_batch_transfer(*batch);
    module.on_before_batch_transfer(*batch);
    data.transfer_batch_to_device(*batch, session);
    data.on_after_batch_transfer(*batch);
    module.on_after_batch_transfer(*batch);
    module.begin_batch();
    session.seed_micro_batch(i);
    {
      const auto autocast = session.autocast();
      module.training_step(*batch);
    }
    if (batch->padding()) continue;  // it takes part in collectives alone
    const auto weight = static_cast<double>(batch->size());
    samples += weight;
    std::vector<double> batch_sums;
    for (const auto& layer : statistics) add_to_host(batch_sums, layer.mean, weight), add_to_host(batch_sums, layer.variance, weight);
    sums.resize(batch_sums.size());
    for (size_t value = 0; value < sums.size(); value++) sums[value] += batch_sums[value];
  }
  for (const auto& [name, metric] : module.metrics()) metric->reset();

  size_t values = 0, next = 0;
  for (const auto& layer : statistics) values += static_cast<size_t>(layer.mean.numel() + layer.variance.numel());
  sums.resize(values);  // a rank without samples
  sums.push_back(samples);
  sums = all_sum(session.mesh().data_communicator(), std::move(sums));
  for (auto& layer : statistics) {
    if (sums.back() > 0) {
      set_from_host(layer.mean, sums, next, sums.back());
      set_from_host(layer.variance, sums, next, sums.back());
    }
    layer.options->momentum(layer.momentum);
  }
  module.train(was_training);
}

}  // namespace levin::detail
