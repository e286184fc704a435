#include "batch_norm_statistics.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <limits>
#include <optional>
#include <vector>

#include "batch_norm_layers.h"
#include "levin/comm/host_values.h"
#include "levin/data/loader.h"
#include "levin/nn/batch_norm_recorder.h"
#include "levin/nn/module_buffers.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {
namespace {

std::vector<RunningStatistics> statistics_of(const Module& module) {
  std::vector<RunningStatistics> all;
  for (const auto& part : module.modules())
    if (auto statistics = running_statistics(*part)) all.push_back(std::move(*statistics));
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

void append_numbers(std::vector<double>& numbers, const Tensor& values) {
  const Tensor host = values.detach().cpu().to(at::kDouble).contiguous();
  numbers.insert(numbers.end(), host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel());
}

void set_means(const Tensor& values, const double* sums, double weight) {
  const Tensor host = at::empty(values.sizes(), at::TensorOptions(at::kDouble));
  for (int64_t i = 0; i < host.numel(); i++) host.mutable_data_ptr<double>()[i] = sums[i] / weight;
  values.copy_(host);
}

// A layer that no rank has called in training mode keeps its statistics.
void set_statistics(const std::vector<RunningStatistics>& layers, const BatchNormRecorder& recorder, Communicator& communicator) {
  std::vector<double> sums;  // of each layer: the weight, the means, the variances
  for (const auto& layer : layers) {
    const auto* found = recorder.find(layer.mean);
    const size_t end = sums.size() + 1 + static_cast<size_t>(2 * layer.mean.numel());
    sums.push_back(found ? found->weight : 0);
    if (sums.back() > 0) append_numbers(sums, found->mean), append_numbers(sums, found->variance);
    sums.resize(end);  // a rank without samples
  }
  sums = all_sum(communicator, std::move(sums));
  const double* next = sums.data();
  for (const auto& layer : layers) {
    const double weight = *next++;
    const auto* found = recorder.find(layer.mean);
    if (weight > 0) {
      set_means(layer.mean, next, weight);
      set_means(layer.variance, next + layer.mean.numel(), weight);
      if (layer.batches.defined()) layer.batches.fill_(found ? found->calls : 0);
    }
    next += 2 * layer.mean.numel();
  }
}

}  // namespace

bool has_batch_norm(const Module& module) { return !statistics_of(module).empty(); }

void recompute_batch_norm(Trainer& trainer, Module& module) {
  const at::NoGradGuard no_grad;
  const NoLogs no_logs(module);
  auto& session = trainer.session();
  auto& data = *trainer.datamodule();
  const bool was_training = module.is_training();
  module.train();

  BatchNormRecorder recorder;
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
    const SyncBatchNorm::Scope synchronized(session.sync_batch_norm(), module, batch->padding());
    std::optional<BufferGuard> buffers;
    if (batch->padding()) buffers.emplace(module);  // it takes part in collectives alone
    recorder.set_weight(batch->padding() ? 0 : static_cast<double>(batch->size()));
    const auto autocast = session.autocast();
    module.training_step(*batch);
  }
  for (const auto& [name, metric] : module.metrics()) metric->reset();
  set_statistics(statistics_of(module), recorder, session.mesh().data_communicator());
  module.train(was_training);
}

}  // namespace levin::detail
