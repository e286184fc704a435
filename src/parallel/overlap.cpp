#include "overlap.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <utility>

#include "levin/core/error.h"

namespace levin::detail {

struct Overlap::Hook : torch::autograd::PostAccumulateGradHook {
  Hook(Overlap* overlap, Watched* watched, size_t member) : overlap(overlap), watched(watched), member(member) {}
  void operator()(const torch::autograd::Variable&) override { overlap->arrived(*watched, member); }
  Overlap* overlap;
  Watched* watched;
  size_t member;
};

Overlap::Overlap(std::vector<FlatGroup>& groups) {
  for (auto& group : groups)
    if (group.trained()) watched_.push_back({&group, std::vector<char>(group.members().size())});
  for (auto& one : watched_)
    for (size_t k = 0; k < one.there.size(); k++)
      torch::autograd::impl::set_post_acc_grad_hooks(one.group->members()[k], std::make_unique<Hook>(this, &one, k));
}

Overlap::~Overlap() {
  for (const auto& one : watched_)
    for (const auto& tensor : one.group->members()) torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
}

void Overlap::begin(const std::vector<FlatGroup*>& groups) {
  begun_ = true;
  waiting_.clear();
  for (auto& one : watched_) {
    one.started = false;
    one.expected = std::find(groups.begin(), groups.end(), one.group) != groups.end();
    if (!one.expected) continue;
    std::fill(one.there.begin(), one.there.end(), 0);
    one.missing = one.there.size();
    waiting_.push_back(&one);
  }
}

void Overlap::arrived(Watched& watched, size_t member) {
  if (!begun_ || !watched.expected) return;
  if (watched.started && watched.there[member])
    throw UsageError("parallel", "a gradient came again in a backward after the reduction of its group had begun",
                     "make no backward inside a backward, on several hosts");
  watched.group->settle(member);
  if (std::exchange(watched.there[member], 1)) return;
  if (--watched.missing == 0) start_ready();
}

void Overlap::start_ready() {
  for (; !waiting_.empty() && waiting_.back()->missing == 0; waiting_.pop_back()) {
    waiting_.back()->group->start_reduce();
    waiting_.back()->started = true;
  }
}

void Overlap::end() {
  begun_ = false;
  for (auto* one : waiting_) one->missing = 0;
  start_ready();
}

}  // namespace levin::detail
