#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "levin/core/batch.h"
#include "levin/trainer/module.h"

namespace levin {

class Loader;
class LogCollection;
class Run;
class Session;

/// The processing of a micro-batch in a training: forward, backward and, when a step is due, the update. Calls are collective: all ranks
/// make them for the same micro-batch.
class TrainStep {
 public:
  /// As module.automatic_optimization() says. UsageError, ConfigError where the module's optimizers or the options do not fit that.
  static std::unique_ptr<TrainStep> make(Run& run, LogCollection& logs);
  virtual ~TrainStep() = default;
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  /// Call before anything is done with the micro-batch, its reading excepted.
  void begin();
  /// The loss, for on_train_batch_end. `last`: no batch of the epoch follows, so that the accumulation ends here.
  virtual Tensor run(const Batch& batch, bool last) = 0;

  /// Micro-batches since the last step; 0: the training is between two steps.
  int64_t micro_batch() const noexcept { return micro_batch_; }
  /// Whether an update began since mark_complete, so that parameters may be half updated.
  bool update_begun() const noexcept { return update_begun_; }
  /// With automatic optimization, `fn` is called on all ranks after the last backward of a step; no reduction overlaps that backward then.
  void set_before_update(std::function<void()> fn) { before_update_ = std::move(fn); }
  /// `fn` is called before the exchange of every step, which carries the session's requests to all ranks.
  void set_before_exchange(std::function<void()> fn) { before_exchange_ = std::move(fn); }
  void mark_complete() noexcept { update_begun_ = false; }

 protected:
  TrainStep(Run& run, LogCollection& logs);
  Tensor training_step(const Batch& batch);
  void count_step();
  /// Requests of this rank for the step's exchange. In a step of 100 ms or more: the ranks agree on signals again after the step, so that
  /// one that comes meanwhile does not wait for another long step.
  void before_exchange();

  Run& run_;
  Session& session_;
  Module& module_;
  LogCollection& logs_;
  int64_t micro_batch_ = 0;
  bool update_begun_ = false;
  std::chrono::steady_clock::time_point began_;
  std::function<void()> before_update_, before_exchange_;
};

}  // namespace levin
