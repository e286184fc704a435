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

Overlap::Overlap(std::vector<Member> members, size_t in_flight) : in_flight_most_(in_flight) {
  for (auto& member : members) {
    std::vector<char> there(member.group->members().size());
    if (member.group->trained()) watched_.push_back({std::move(member), std::move(there)});
  }
  for (auto& one : watched_)
    for (size_t k = 0; k < one.there.size(); k++)
      torch::autograd::impl::set_post_acc_grad_hooks(one.of.group->members()[k], std::make_unique<Hook>(this, &one, k));
}

Overlap::~Overlap() {
  for (const auto& one : watched_)
    for (const auto& tensor : one.of.group->members()) torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
}

void Overlap::begin(const std::vector<FlatGroup*>& groups, bool reduce) {
  begun_ = true;
  reduce_ = reduce;
  waiting_.clear();
  for (auto& one : watched_) {
    one.started = false;
    one.expected = std::find(groups.begin(), groups.end(), one.of.group) != groups.end();
    if (!one.expected) continue;
    const auto& members = one.of.group->members();
    for (size_t k = 0; k < members.size(); k++) one.there[k] = members[k].requires_grad() ? 0 : 1;  // none comes of a frozen one
    one.missing = static_cast<size_t>(std::count(one.there.begin(), one.there.end(), 0));
    if (reduce) one.of.group->begin_backward();
    waiting_.push_back(&one);
  }
}

void Overlap::arrived(Watched& watched, size_t member) {
  if (!begun_ || !watched.expected) return;
  if (watched.started)
    throw UsageError("parallel", "a gradient came again in a backward after the reduction of its group had begun",
                     "make no backward inside a backward");
  watched.of.group->settle(member);
  if (std::exchange(watched.there[member], 1)) return;
  if (--watched.missing > 0) return;
  start_ready();
  if (watched.of.runner) watched.of.runner->release_if_done();
}

// A checkpointed unit's parameters get a gradient from each of its computations.
bool Overlap::ready(const Watched& watched) {
  const auto& units = watched.of.repeated;
  return watched.missing == 0 && std::all_of(units.begin(), units.end(), [](const UnitRunner* unit) { return unit->repeats() == 0; });
}

bool Overlap::complete(const FlatGroup& group) const {
  const auto found = std::find_if(watched_.begin(), watched_.end(), [&](const Watched& one) { return one.of.group == &group; });
  return found == watched_.end() || !found->expected || found->missing == 0;
}

void Overlap::start(Watched& watched) {
  watched.started = true;
  for (size_t k = 0; k < watched.there.size(); k++)
    if (!watched.of.group->members()[k].requires_grad()) watched.of.group->settle(k);  // zeros
  watched.of.group->start_reduce();
  if (!watched.of.group->gradients_sharded()) return;
  in_flight_.push_back(watched.of.group);
  for (; in_flight_.size() > in_flight_most_; in_flight_.pop_front()) in_flight_.front()->finish_reduce();
}

void Overlap::start_ready() {
  if (!reduce_) return;
  for (; !waiting_.empty() && ready(*waiting_.back()); waiting_.pop_back()) start(*waiting_.back());
}

void Overlap::end(const std::vector<std::string>& names, std::vector<size_t>* absent) {
  begun_ = false;
  for (; !waiting_.empty(); waiting_.pop_back()) {
    waiting_.back()->of.group->settle(names, absent);
    if (reduce_) start(*waiting_.back());
  }
  for (; !in_flight_.empty(); in_flight_.pop_front()) in_flight_.front()->finish_reduce();
}

}  // namespace levin::detail
