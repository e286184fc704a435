#include "levin/callbacks/spike_detection.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <numeric>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/state_reader.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin {

SpikeDetection::SpikeDetection(const SpikeDetectionConfig& config) : config_(config) { check_config(config_); }

void SpikeDetection::setup(Stage) {
  window_.clear();
  last_ = 0;
  steps_ = rollbacks_ = 0;
  suspects_.clear();
}

void SpikeDetection::on_train_start() {
  last_step_ = trainer().global_step();
  loss_sum_ = weight_ = 0;
}

StateDict SpikeDetection::state_dict() const {
  StateDict state;
  state.set("last", last_);
  state.set("steps", steps_);
  state.set("rollbacks", rollbacks_);
  if (!window_.empty()) state.set("window", at::tensor(std::vector<double>(window_.begin(), window_.end()), at::kDouble));
  return state;
}

void SpikeDetection::load_state_dict(const StateDict& state) {
  last_ = state.get<double>("last");
  steps_ = state.get<int64_t>("steps");
  rollbacks_ = state.get<int64_t>("rollbacks");
  window_.clear();
  if (!state.contains("window")) return;
  const auto& window = state.get<Tensor>("window");
  window_.assign(window.const_data_ptr<double>(), window.const_data_ptr<double>() + window.numel());
}

double SpikeDetection::running_mean() const {
  return std::accumulate(window_.begin(), window_.end(), 0.0) / static_cast<double>(window_.size());
}

bool SpikeDetection::is_spike(double loss) const {
  if (steps_ < config_.warmup || window_.empty()) return false;
  if (config_.finite_only && !std::isfinite(loss)) return true;
  if (config_.mode == MonitorMode::min ? loss <= last_ : loss >= last_) return false;
  const double mean = running_mean(), difference = std::abs(loss - mean);
  return (!config_.atol || difference >= *config_.atol) && (!config_.rtol || difference >= std::abs(*config_.rtol * mean));
}

void SpikeDetection::on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t) {
  if (const double weight = module().weight_of(batch); loss.defined() && weight > 0) {
    loss_sum_ += loss.item<double>() * weight;
    weight_ += weight;
  }
  const int64_t step = trainer().global_step();
  if (std::exchange(last_step_, step) == step) return;  // an accumulation
  const auto sums = all_sum(trainer().session().mesh().data_communicator(), std::vector<double>{loss_sum_, weight_});
  loss_sum_ = weight_ = 0;
  if (sums[1] == 0) return;
  const double mean = sums[0] / sums[1];
  if (is_spike(mean)) return roll_back(mean);
  steps_++;
  if (!std::isfinite(mean)) return;
  last_ = mean;
  window_.push_back(mean);
  while (std::ssize(window_) > config_.window) window_.pop_front();
}

void SpikeDetection::roll_back(double loss) {
  const int64_t step = trainer().global_step();
  auto& session = trainer().session();
  const auto spike =
      fmt::format("a loss spike in step {}: {:.6g}, and the mean of {} steps is {:.6g}", step, loss, window_.size(), running_mean());
  if (!config_.rollback) throw Error(ExitCode::internal, "callbacks", spike, "resume from an earlier checkpoint, or set rollback to true");
  if (rollbacks_ == config_.max_rollbacks)
    throw Error(ExitCode::internal, "callbacks", fmt::format("{}, after {} rollbacks", spike, rollbacks_),
                "lower the learning rate, look at the data, or raise max_rollbacks");
  session.scaling().settle();  // a result of these steps that came later would uncount an update of the checkpoint
  auto& checkpoints = trainer().checkpoints();
  checkpoints.finish();
  NewestCheckpoint good;
  if (!checkpoints.resumable_folders().empty()) do {
      if (good.reader) suspects_.push_back(good.reader->path());
      good = newest_checkpoint(checkpoints.resumable_folders(), session.communicator().cpu(), {}, suspects_);
    } while (good.reader && good.reader->manifest().step > step - 2);
  if (!good.reader)
    throw Error(ExitCode::internal, "callbacks", fmt::format("{}, and no checkpoint two steps before it or earlier", spike),
                "add a model_checkpoint with every_n_train_steps");
  const LoadFrom from{.checkpoint = good.reader.get()};
  StateReader(session, from).load_model(/*weights_only=*/false);
  rollbacks_++;
  if (session.rank() == 0)
    session.runtime().log().warning(
        "[callbacks] {}; parameters and optimizers are those of {} again, and the training continues with the next batch", spike,
        good.reader->path().string());
}

}  // namespace levin
