#include "levin/optim/torch_optimizer.h"

#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

TorchOptimizer::TorchOptimizer(const OptimizerFactory& factory, const std::vector<Tensor>& parameters) : optimizer_(factory(parameters)) {
  if (!optimizer_ || optimizer_->param_groups().empty())
    throw UsageError("optim", "the custom optimizer factory returned null or an optimizer without parameters",
                     "return an optimizer over the given parameters");
  if (needs_closure())
    throw UsageError("optim",
                     fmt::format("the custom optimizer {} computes the loss again in each step (it needs a closure), which is not "
                                 "supported",
                                 name()),
                     "use one that takes a step from the gradients alone");
  for (auto& group : optimizer_->param_groups()) try {
      base_lrs_.push_back(group.options().get_lr());
    } catch (const c10::Error&) {
      throw UsageError("optim", "the options of a custom optimizer have no learning rate", "override their get_lr and set_lr");
    }
}

TorchOptimizer::~TorchOptimizer() = default;

std::string TorchOptimizer::name() const {
  const auto& optimizer = *optimizer_;
  return unqualified(c10::demangle(typeid(optimizer).name()));
}

void TorchOptimizer::step(const std::function<double(double)>& schedule) {
  auto& groups = optimizer_->param_groups();
  for (size_t i = 0; i < groups.size(); i++) groups[i].options().set_lr(schedule(base_lrs_[i]));
  try {
    optimizer_->step();
  } catch (const c10::Error& error) {
    if (std::string_view(error.what_without_backtrace()).find("closure") == std::string_view::npos) throw;
    throw UsageError("optim", fmt::format("the custom optimizer {} asks for a closure that computes the loss again", name()),
                     "use one that takes a step from the gradients alone");
  }
}

}  // namespace levin
