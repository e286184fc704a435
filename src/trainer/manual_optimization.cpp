#include "levin/trainer/manual_optimization.h"

#include "levin/core/error.h"
#include "levin/trainer/module.h"
#include "run.h"
#include "run_guards.h"

namespace levin {

Session& ManualOptimizer::session() const { return optimization_->session_; }

void ManualOptimizer::zero_grad() {
  session().zero_grad(index_);
  reduced_.reset();
}

void ManualOptimizer::toggle() { session().toggle(index_); }
void ManualOptimizer::untoggle() { session().toggle_all(); }

bool ManualOptimizer::reduce() {
  if (!reduced_) {
    optimization_->before_exchange_();
    reduced_ = session().reduce(index_, Accumulation::sum);
  }
  return *reduced_;
}

std::vector<GradientSlice> ManualOptimizer::gradients() { return reduce() ? session().gradients(index_) : std::vector<GradientSlice>(); }

void ManualOptimizer::clip_gradients(std::optional<double> gradient_clip_val, ClipAlgorithm algorithm) {
  if (reduce()) session().clip_gradients(index_, gradient_clip_val, algorithm);
}

bool ManualOptimizer::step() { return step(/*clip=*/false); }

bool ManualOptimizer::step(bool clip) {
  const bool has_gradients = reduce();
  if (has_gradients) {
    auto& module = optimization_->module_;
    const auto& config = optimization_->run_.config().session;
    optimization_->run_.hooks().call("on_before_optimizer_step", &Hooks::on_before_optimizer_step, std::string_view(name_));
    if (clip)
      call_hook("configure_gradient_clipping", module,
                [&] { module.configure_gradient_clipping(name_, config.gradient_clip_val, config.gradient_clip_algorithm); });
    call_hook("optimizer_step", module, [&] { module.optimizer_step(name_, [this] { session().update(index_); }); });
    optimization_->stepped_ = true;
  }
  zero_grad();
  return has_gradients;
}

ManualOptimization::ManualOptimization(Run& run, std::function<void()> before_exchange)
    : run_(run), session_(run.session()), module_(run.module()), before_exchange_(std::move(before_exchange)) {
  const auto& names = session_.optimizers();
  for (size_t i = 0; i < names.size(); i++) optimizers_.push_back(ManualOptimizer(*this, i, names[i]));
  module_.attach_optimization(this);
}

ManualOptimization::~ManualOptimization() {
  module_.attach_optimization(nullptr);
  session_.toggle_all();
}

void ManualOptimization::begin(const Batch& batch) {
  batch_ = &batch;
  stepped_ = false;
}

ManualOptimizer& ManualOptimization::optimizer(std::string_view name) { return optimizers_[session_.optimizer_index(name)]; }

void ManualOptimization::backward(const Tensor& loss) {
  for (const auto& optimizer : optimizers_)
    if (optimizer.reduced_)
      throw UsageError("trainer",
                       fmt::format("a backward after the gradients of \"{}\" were reduced, and before its step", optimizer.name()),
                       "call step or zero_grad first");
  const auto& hooks = run_.hooks();
  hooks.call("on_before_backward", &Hooks::on_before_backward, loss);
  call_hook("backward", module_, *batch_, [&] { session_.backward(loss, module_.weight_of(*batch_)); });
  hooks.call("on_after_backward", &Hooks::on_after_backward);
}

Tensor ManualOptimization::optimize(std::string_view name, const std::function<Tensor()>& loss) {
  auto& manual = optimizer(name);
  struct Toggled {
    explicit Toggled(ManualOptimizer& optimizer) : optimizer(optimizer) { optimizer.toggle(); }
    ~Toggled() { optimizer.untoggle(); }
    ManualOptimizer& optimizer;
  } toggled(manual);
  manual.zero_grad();
  const Tensor value = loss();
  session_.expect_step(manual.index_);
  backward(value);
  manual.step(/*clip=*/true);
  return value.detach();
}

}  // namespace levin
