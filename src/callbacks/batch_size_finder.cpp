#include "levin/callbacks/batch_size_finder.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/heap.h"
#include "levin/core/memory.h"
#include "levin/core/number_text.h"
#include "levin/data/batch_plan.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "levin/trainer/training_trial.h"
#include "trial_table.h"

namespace levin {
namespace {

// The peak of the tensors on the CPU that this thread allocates while a guard has it.
class TensorPeak : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t alloc_size, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    held_ += alloc_size;
    peak_ = std::max(peak_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t bytes() const noexcept { return peak_; }

 private:
  int64_t held_ = 0, peak_ = 0;
};

}  // namespace

BatchSizeFinder::BatchSizeFinder(const BatchSizeFinderConfig& config) : config_(config) { check_config(config_); }

void BatchSizeFinder::setup(Stage) {
  trials_.clear(), measured_.clear();
  batch_size_.reset();
  parts_ = 0;
}

void BatchSizeFinder::on_fit_start() {
  auto& session = trainer().session();
  if (trainer().config().fast_dev_run.batches > 0) {
    if (session.rank() == 0) session.runtime().log().warning("[callbacks] no batch size is searched in a fast_dev_run");
    return;
  }
  const auto data = trainer().datamodule()->train_dataloader();
  check_data(data);
  if (batch_size_) {
    keep_samples_of_a_step();
  } else {
    look_at(data);
    search();
  }
  parts_ = parts_of_a_step();
  if (batch_size_) trainer().set_train_batch_size(*batch_size_);
}

void BatchSizeFinder::check_data(const DataLoaderSpec& spec) const {
  if (!spec.parts.empty())
    throw ConfigError("a batch size finder, and the training data are a combined loader", "leave it out, and size the parts by hand",
                      "callbacks");
  if (spec.options.global_batch_size)
    throw ConfigError(
        fmt::format("a batch size finder, and the data have a global_batch_size of {}", *spec.options.global_batch_size),
        "give a batch_size instead, or leave the finder out and raise trainer.accumulate_grad_batches until a micro-batch fits",
        "callbacks");
}

int64_t BatchSizeFinder::parts_of_a_step() const {
  const auto& callbacks = trainer().callbacks();
  const bool scheduled = std::any_of(callbacks.begin(), callbacks.end(),
                                     [](const auto& callback) { return callback->accumulate_grad_batches(0).has_value(); });
  return trainer().session().mesh().data().size() * (scheduled ? 1 : trainer().config().accumulate_grad_batches);
}

// On another number of ranks the epochs have the same steps.
void BatchSizeFinder::keep_samples_of_a_step() {
  const int64_t parts = parts_of_a_step();
  if (parts_ == 0 || parts_ == parts) return;
  const int64_t samples = *batch_size_ * parts_, size = samples / parts;
  if (size * parts != samples)
    throw ConfigError(
        fmt::format(
            "the run has steps of {} samples, {} in each of {} parts (ranks x accumulate_grad_batches), which {} parts cannot share",
            samples, *batch_size_, parts_, parts),
        fmt::format("choose a number of parts that divides {0}, or leave batch_size_finder out and give --data.global_batch_size {0}",
                    samples),
        "callbacks");
  auto& session = trainer().session();
  if (size > *batch_size_ && session.rank() == 0)
    session.runtime().log().warning(
        "[callbacks] the batch size is {} samples of a rank, more than the {} that were found to fit, so that a step keeps its {}; if they "
        "need too much memory, raise accumulate_grad_batches",
        size, *batch_size_, samples);
  batch_size_ = size;
}

void BatchSizeFinder::look_at(const DataLoaderSpec& spec) {
  auto& session = trainer().session();
  largest_ = config_.max_val;
  bytes_ahead_ = 0;
  if (spec.dataset && spec.dataset->size() > 0) largest_ = largest_of(spec);
  largest_ = all_min(session.communicator(), largest_);  // the data of ranks may differ without use_distributed_sampler
  if (!spec.dataset || spec.dataset->size() == 0 || spec.options.num_workers == 0) return;
  Batch sample;
  spec.dataset->get(std::array<int64_t, 1>{0}, sample);
  for (const auto& [name, tensor] : sample.tensors()) bytes_ahead_ += static_cast<int64_t>(tensor.nbytes());
  bytes_ahead_ *= spec.options.num_workers * spec.options.prefetch_factor;
}

// The size of an epoch's only batch, or of as many as make one under a fraction as limit_train_batches.
int64_t BatchSizeFinder::largest_of(const DataLoaderSpec& spec) const {
  const auto& config = trainer().config();
  const int64_t ranks = config.use_distributed_sampler ? trainer().session().mesh().data().size() : 1;
  const int64_t samples = spec.dataset->size() + (spec.options.drop_last ? 0 : ranks - 1);  // with drop_last a batch is full on all ranks
  const int64_t most = std::min(config_.max_val, std::max<int64_t>(1, samples / ranks));
  const Limit& limit = config.limit_train_batches;
  if (!limit.is_fraction() || limit.number() == 0) return most;
  const auto trains = [&](int64_t size) {
    BatchPlanInput input{.samples = spec.dataset->size(), .batch_size = size, .world_size = ranks};
    input.drop_last = spec.options.drop_last;
    return limit.of(BatchPlan(input).batches()) > 0;
  };
  int64_t works = 1, fails = most + 1;  // larger batches are fewer
  while (fails - works > 1) {
    const int64_t middle = works + (fails - works) / 2;
    (trains(middle) ? works : fails) = middle;
  }
  return works;
}

void BatchSizeFinder::search() {
  auto& session = trainer().session();
  const auto& log = session.runtime().log();
  log.info("[callbacks] searching the batch size: at most {} samples of a rank", largest_);
  const HeapGivesBack heap;
  TrainingTrial trial(trainer(), module());
  int64_t works = 0, fails = 0, refused = 0;  // the largest that works, the smallest without memory, the largest of too few samples
  bool found = false;                         // not only to measure
  const auto attempt = [&](int64_t size) {
    const auto fit = fit_of(trial, size);
    (fit == BatchFit::fits ? works : fit == BatchFit::out_of_memory ? fails : refused) = size;
    return fit == BatchFit::fits;
  };
  const auto next = [&](int64_t size) {
    const int64_t least = std::max(works, refused);
    if (fails == 0) return std::min(2 * size, largest_);
    if (config_.mode == BatchSizeMode::power) return found ? works : std::max(least, fails / 2);
    return (least + fails) / 2;
  };
  int64_t size = std::min(config_.init_val, largest_);
  const bool on_cpu = session.device().is_cpu();
  for (const int64_t small : {2, 4})  // what predictions begin with
    if (on_cpu && small < size && fails == 0 && !session.must_exit()) attempt(small);
  if (fails > 0) size = next(fails);
  for (int64_t tries = 0; tries < config_.max_trials && size > std::max(works, refused) && !session.must_exit(); tries++) {
    found |= attempt(size);
    size = next(size);
  }
  trial.restore();
  if (session.must_exit()) return;  // the next attempt searches
  write();
  if (works == 0) refuse(fails, refused);
  if (config_.mode == BatchSizeMode::binsearch) {
    const auto reduced = static_cast<int64_t>(static_cast<double>(works) * (1 - config_.margin));
    const int64_t least = refused < works ? std::max<int64_t>(refused + 1, 2) : works;  // batch normalization may refuse one sample
    works = std::max(reduced, std::min(least, works));
  }
  batch_size_ = works;
  log.info("[callbacks] the batch size is {} samples of a rank", works);
}

// No size works.
void BatchSizeFinder::refuse(int64_t fails, int64_t refused) const {
  const char* const less_memory = "use a smaller model, activation checkpointing, or fewer ranks on a host";
  if (fails == 0)
    throw ConfigError(fmt::format("batch normalization refuses batches of up to {} samples of a rank", refused),
                      "give more training data, or a larger max_val or max_trials of batch_size_finder", "callbacks");
  if (refused > 0)
    throw ConfigError(fmt::format("batch normalization refuses {} samples of a rank, and {} do not fit into memory", refused, fails),
                      less_memory, "callbacks");
  throw ConfigError(fmt::format("not even {} samples of a rank fit into memory", fails),
                    fails > 1 ? "give more batch_size_finder.max_trials" : less_memory, "callbacks");
}

std::optional<int64_t> BatchSizeFinder::predicted_bytes(int64_t batch_size) const {
  if (measured_.empty()) return std::nullopt;
  const auto [size, bytes] = measured_.back();
  double predicted = static_cast<double>(bytes) * static_cast<double>(batch_size) / static_cast<double>(size);
  if (measured_.size() > 1) {
    const auto [size_before, bytes_before] = measured_[measured_.size() - 2];
    const double slope = static_cast<double>(bytes - bytes_before) / static_cast<double>(size - size_before);
    if (slope > 0) predicted = static_cast<double>(bytes) + slope * static_cast<double>(batch_size - size);
  }
  constexpr double caution = 1.1;
  return static_cast<int64_t>(predicted * caution);
}

// On all ranks or none.
bool BatchSizeFinder::may_try(int64_t batch_size) {
  auto& session = trainer().session();
  const auto bytes = predicted_bytes(batch_size);
  if (!session.device().is_cpu() || !bytes) return true;
  const int64_t most = config_.memory ? config_.memory->value : available_memory() / session.topology().local_size();
  if (all_min(session.communicator(), static_cast<int64_t>(*bytes <= most)) == 1) return true;
  trials_.push_back({.batch_size = batch_size, .result = "not tried", .bytes = *bytes});
  session.runtime().log().info("[callbacks] batch size {}: not tried, it would need {} of {}", batch_size, bytes_text(*bytes),
                               bytes_text(most));
  return false;
}

BatchFit BatchSizeFinder::fit_of(TrainingTrial& trial, int64_t batch_size) {
  return may_try(batch_size) ? try_size(trial, batch_size) : BatchFit::out_of_memory;
}

BatchFit BatchSizeFinder::try_size(TrainingTrial& trial, int64_t batch_size) {
  auto& session = trainer().session();
  const auto peak = std::make_shared<TensorPeak>();
  const auto began = std::chrono::steady_clock::now();
  TrialResult result;
  {
    const c10::DebugInfoGuard measures(c10::DebugInfoKind::PROFILER_STATE, peak);
    result = trial.run({.steps = config_.steps_per_trial, .batch_size = batch_size, .batch_may_not_fit = true});
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const int64_t bytes = peak->bytes() + bytes_ahead_ * batch_size;
  const bool in_budget = !config_.memory || !session.device().is_cpu() ||
                         all_min(session.communicator(), static_cast<int64_t>(bytes <= config_.memory->value)) == 1;
  const auto fit = result.fit == BatchFit::fits && !in_budget ? BatchFit::out_of_memory : result.fit;
  trials_.push_back({.batch_size = batch_size,
                     .result = fit == BatchFit::fits            ? "ok"
                               : fit == BatchFit::out_of_memory ? "out of memory"
                                                                : "too few samples",
                     .bytes = bytes,
                     .seconds_per_step = seconds / static_cast<double>(std::max<int64_t>(1, result.steps))});
  if (fit == BatchFit::fits) measured_.emplace_back(batch_size, bytes);
  session.runtime().log().info("[callbacks] batch size {}: {}, {} of tensors, {:.3g} s a step", batch_size, trials_.back().result,
                               bytes_text(bytes), trials_.back().seconds_per_step);
  return fit;
}

void BatchSizeFinder::write() const {
  std::string table = "batch_size,result,bytes,seconds_per_step\n";
  for (const auto& trial : trials_)
    table += fmt::format("{},{},{},{}\n", trial.batch_size, trial.result, trial.bytes, number_text(trial.seconds_per_step));
  detail::write_trial_table(trainer(), "batch_size_finder.csv", table);
}

StateDict BatchSizeFinder::state_dict() const {
  StateDict state;
  if (!batch_size_) return state;
  state.set("batch_size", *batch_size_);
  state.set("parts", parts_);
  return state;
}

void BatchSizeFinder::load_state_dict(const StateDict& state) {
  batch_size_ = state.get<int64_t>("batch_size");
  parts_ = state.contains("parts") ? state.get<int64_t>("parts") : 0;
}

}  // namespace levin
