#include "levin/trainer/manual_optimization.h"

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"
#include "run_guards.h"

namespace levin {

Session& ManualOptimizer::session() const { return optimization_->trainer_.session(); }

void ManualOptimizer::zero_grad() {
  session().zero_grad(index_);
  reduced_.reset();
}

void ManualOptimizer::toggle() { session().toggle(index_); }
void ManualOptimizer::untoggle() { session().toggle_all(); }

bool ManualOptimizer::reduce() {
  if (!reduced_) reduced_ = session().reduce(index_, Accumulation::sum);
  return *reduced_;
}

std::vector<GradientSlice> ManualOptimizer::gradients() { return reduce() ? session().gradients(index_) : std::vector<GradientSlice>(); }

void ManualOptimizer::clip_gradients(std::optional<double> gradient_clip_val, ClipAlgorithm algorithm) {
  if (reduce()) session().clip_gradients(index_, gradient_clip_val, algorithm);
}

bool ManualOptimizer::step() { return step(/*clip=*/false); }

bool ManualOptimizer::step(bool clip) {
  const bool something = reduce();
  if (something) {
    auto& module = optimization_->module_;
    const auto& config = optimization_->trainer_.config().session;
    optimization_->trainer_.hooks().call("on_before_optimizer_step", &Hooks::on_before_optimizer_step, std::string_view(name_));
    if (clip)
      call("configure_gradient_clipping", module,
           [&] { module.configure_gradient_clipping(name_, config.gradient_clip_val, config.gradient_clip_algorithm); });
    call("optimizer_step", module, [&] { module.optimizer_step(name_, [this] { session().update(index_); }); });
    optimization_->stepped_ = true;
  }
  zero_grad();
  return something;
}

ManualOptimization::ManualOptimization(Trainer& trainer, Module& module) : trainer_(trainer), module_(module) {
  const auto& names = trainer.session().optimizers();
  for (size_t i = 0; i < names.size(); i++) optimizers_.push_back(ManualOptimizer(*this, i, names[i]));
  module.attach_optimization(this);
}

ManualOptimization::~ManualOptimization() {
  module_.attach_optimization(nullptr);
  trainer_.session().toggle_all();
}

void ManualOptimization::begin(const Batch& batch) {
  batch_ = &batch;
  stepped_ = false;
}

ManualOptimizer& ManualOptimization::optimizer(std::string_view name) { return optimizers_[trainer_.session().optimizer_index(name)]; }

void ManualOptimization::backward(const Tensor& loss) {
  for (const auto& optimizer : optimizers_)
    if (optimizer.reduced_)
      throw UsageError("trainer",
                       fmt::format("a backward after the gradients of \"{}\" were reduced, and before its step", optimizer.name()),
                       "call step or zero_grad first");
  const auto& hooks = trainer_.hooks();
  hooks.call("on_before_backward", &Hooks::on_before_backward, loss);
  call("backward", module_, *batch_, [&] { trainer_.session().backward(loss, module_.weight_of(*batch_)); });
  hooks.call("on_after_backward", &Hooks::on_after_backward);
}

Tensor ManualOptimization::optimize(std::string_view name, const std::function<Tensor()>& loss) {
  auto& one = optimizer(name);
  struct Toggled {
    explicit Toggled(ManualOptimizer& optimizer) : optimizer(optimizer) { optimizer.toggle(); }
    ~Toggled() { optimizer.untoggle(); }
    ManualOptimizer& optimizer;
  } toggled(one);
  one.zero_grad();
  const Tensor value = loss();
  trainer_.session().expect_step(one.index_);
  backward(value);
  one.step(/*clip=*/true);
  return value.detach();
}

}  // namespace levin
