#include "overlap.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <utility>

#include "levin/core/error.h"

namespace levin::detail {

struct Overlap::Hook : torch::autograd::PostAccumulateGradHook {
  Hook(Overlap* overlap, size_t group, size_t member) : overlap(overlap), group(group), member(member) {}
  void operator()(const torch::autograd::Variable&) override { overlap->arrived(group, member); }
  Overlap* overlap;
  size_t group, member;
};

Overlap::Overlap(std::vector<FlatGroup>& groups) : groups_(&groups), there_(groups.size()), missing_(groups.size()) {
  for (size_t i = 0; i < groups.size(); i++) {
    if (!groups[i].trained()) continue;
    const auto& members = groups[i].members();
    there_[i].resize(members.size());
    for (size_t k = 0; k < members.size(); k++) {
      torch::autograd::impl::set_post_acc_grad_hooks(members[k], std::make_unique<Hook>(this, i, k));
      watched_.push_back(members[k]);
    }
  }
}

Overlap::~Overlap() {
  for (const auto& tensor : watched_) torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
}

void Overlap::begin() {
  begun_ = true;
  next_ = groups_->size();
  for (size_t i = 0; i < there_.size(); i++) {
    std::fill(there_[i].begin(), there_[i].end(), 0);
    missing_[i] = there_[i].size();
  }
}

void Overlap::arrived(size_t group, size_t member) {
  if (!begun_) return;
  if (group >= next_ && there_[group][member])
    throw UsageError("parallel", "a gradient came again in a backward after the reduction of its group had begun",
                     "make no backward inside a backward, on several hosts");
  (*groups_)[group].settle(member);
  if (std::exchange(there_[group][member], 1)) return;
  if (--missing_[group] == 0) start_ready();
}

void Overlap::start_ready() {
  for (; next_ > 0 && missing_[next_ - 1] == 0; next_--)
    if ((*groups_)[next_ - 1].trained()) (*groups_)[next_ - 1].start_reduce();
}

void Overlap::end() {
  begun_ = false;
  std::fill(missing_.begin(), missing_.end(), 0);
  start_ready();
}

}  // namespace levin::detail
