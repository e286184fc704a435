#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "../session/part_timer.h"
#include "levin/core/named_values.h"
#include "levin/trainer/callback.h"

namespace levin {
class QueuedLogger;
}

namespace levin::cli {

/// Records where rank 0 spends a training's time, every log_every_n_steps steps and at the end, in a file in the form of metrics.csv. The
/// values are those since the record before, of this attempt: `time` (now, in seconds since 1970) begins a record; then time/total in
/// seconds and its parts time/compute, time/communication, time/data, time/validation, time/checkpoint, time/other; steps; samples, of all
/// ranks; memory/process_bytes, now; the learning rates of its last step. Lines are only appended: a resumed training repeats steps whose
/// records are superseded. No rank communicates. A file that cannot be written is a warning.
class TimingsRecorder : public Callback {
 public:
  explicit TimingsRecorder(std::filesystem::path file);
  ~TimingsRecorder() override;

  void on_train_start() override;
  void on_train_batch_start(const Batch& batch, int64_t batch_idx) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_fit_end() override;

 private:
  using Part = levin::detail::PartTimer::Spent;
  struct Totals {
    std::chrono::steady_clock::time_point now{};
    std::chrono::nanoseconds waited{0};
    Part step, data, validation, checkpoint;
    int64_t steps = 0, samples = 0;
  };
  Totals totals();
  void record();

  const std::filesystem::path file_;
  std::unique_ptr<QueuedLogger> log_;  // on rank 0
  Totals before_;                      // at the record before
  NamedValues learning_rates_;
};

}  // namespace levin::cli
