#pragma once
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/core/batch.h"
#include "levin/optim/clip.h"
#include "levin/parallel/named_parameter.h"

namespace levin {

class ManualOptimization;
class Module;
class Run;
class Session;

/// One optimizer in the hands of a module with manual optimization (Lightning's LightningOptimizer). All ranks make the same calls of
/// reduce, gradients, clip_gradients and step, which are collective, in the same order.
class ManualOptimizer {
 public:
  const std::string& name() const noexcept { return name_; }
  /// Forgets its gradients.
  void zero_grad();
  /// Until untoggle, the parameters of the other optimizers require no gradient.
  void toggle();
  void untoggle();
  /// The gradients of the backward calls since the last step, added up, become their mean over all ranks. False where no rank had a
  /// sample: then there is nothing to step. Once a step; the calls below do it where it was not done.
  bool reduce();
  /// This rank's slices of the mean gradient; they may be changed.
  std::vector<GradientSlice> gradients();
  void clip_gradients(std::optional<double> gradient_clip_val, ClipAlgorithm algorithm = ClipAlgorithm::norm);
  /// Updates the parameters, and forgets the gradients. False where it was skipped because no rank had a sample.
  bool step();

 private:
  friend class ManualOptimization;
  ManualOptimizer(ManualOptimization& optimization, size_t index, std::string name)
      : optimization_(&optimization), index_(index), name_(std::move(name)) {}
  bool step(bool clip);
  Session& session() const;

  ManualOptimization* optimization_;
  size_t index_;
  std::string name_;
  std::optional<bool> reduced_;  // of the coming step: whether there is something to step
};

/// Implements Module::optimize and Module::manual_backward during a training.
class ManualOptimization {
 public:
  /// `before_exchange` is called before a step's first exchange of each optimizer.
  ManualOptimization(Run& run, std::function<void()> before_exchange);
  ~ManualOptimization();
  ManualOptimization(const ManualOptimization&) = delete;
  ManualOptimization& operator=(const ManualOptimization&) = delete;

  /// training_step is about to get this batch.
  void begin(const Batch& batch);
  /// Whether an optimizer took a step since then.
  bool stepped() const noexcept { return stepped_; }

  void backward(const Tensor& loss);
  Tensor optimize(std::string_view name, const std::function<Tensor()>& loss);
  /// UsageError, with the names there are, for an unknown one.
  ManualOptimizer& optimizer(std::string_view name);

 private:
  friend class ManualOptimizer;
  Run& run_;
  Session& session_;
  Module& module_;
  std::function<void()> before_exchange_;
  std::deque<ManualOptimizer> optimizers_;
  const Batch* batch_ = nullptr;
  bool stepped_ = false;
};

}  // namespace levin
