#include "levin/parallel/flat_group.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cstring>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"

namespace levin {
namespace {

// The window lives as long as a tensor on it.
Tensor tensor_on(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype) {
  void* start = window->part(rank);
  return at::from_blob(
      start, {numel}, [window](void*) {}, at::TensorOptions(dtype));
}

// Memory that needs no copies in an all-reduce, where there is room for it.
Tensor gradients_for_collectives(const GroupLayout& layout, Communicator& communicator) {
  if (communicator.size() > 1) try {
      return communicator.allocate(layout.numel, layout.dtype);
    } catch (const IoError&) {  // on all ranks alike
    }
  return at::zeros({layout.numel}, at::TensorOptions(layout.dtype).device(communicator.device()));
}

// Windows of hosts are made apart; where one has no room, none of them has a window.
std::shared_ptr<SharedWindow> window_everywhere(Communicator& communicator, size_t bytes, WhenShort when_short) {
  if (!on_several_hosts(communicator)) return communicator.node()->allocate(bytes, when_short);
  auto window = communicator.node()->allocate(bytes, WhenShort::return_null);
  const Tensor good = at::full({1}, window ? 1.0 : 0.0, at::kDouble);
  communicator.all_reduce(good, ReduceOp::min).wait();
  if (good.item<double>() != 0) return window;
  if (when_short == WhenShort::fail)
    throw IoError("a host's shared memory (such as /dev/shm) has too little room for one copy of the parameters",
                  "enlarge its /dev/shm, or use another window_directory or private memory", "parallel");
  return nullptr;
}

// A small copy costs less than the call of a dispatched one.
void move_values(const Tensor& to, const Tensor& from) {
  constexpr int64_t small = 32768;
  if (to.numel() <= small && to.is_cpu() && from.is_cpu() && from.scalar_type() == to.scalar_type() && from.is_contiguous())
    std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), to.nbytes());
  else
    to.copy_(from);
}

// out <- factor * sum of parts, block by block, so that the second pass over a block finds it in the cache. fp16 and bf16 are added up in
// fp32.
void scaled_sum(const Tensor& out, const std::vector<Tensor>& parts, double factor) {
  const int64_t numel = out.numel(), block = int64_t{32768} * at::get_num_threads();
  const bool narrow = at::isReducedFloatingType(out.scalar_type());
  const Tensor wide = narrow ? at::empty({std::min(block, numel)}, out.options().dtype(at::kFloat)) : Tensor();
  for (int64_t begin = 0; begin < numel; begin += block) {
    const int64_t length = std::min(block, numel - begin);
    const auto cut = [&](const Tensor& tensor) { return length == numel ? tensor : tensor.narrow(0, begin, length); };
    Tensor target = narrow ? wide.narrow(0, 0, length) : cut(out);
    if (narrow)
      target.copy_(cut(parts[0])).add_(cut(parts[1]));
    else
      at::add_out(target, cut(parts[0]), cut(parts[1]));
    for (size_t i = 2; i < parts.size(); i++) target.add_(cut(parts[i]));
    target.mul_(factor);
    if (narrow) cut(out).copy_(target);
  }
}

}  // namespace

bool on_several_hosts(Communicator& communicator) {
  const auto* node = communicator.node();
  return node && node->size() < communicator.size();
}

bool reduces_early(Communicator& communicator) {
  return communicator.size() > 1 && (communicator.node() == nullptr || on_several_hosts(communicator));
}

std::unique_ptr<GroupMemory> GroupMemory::allocate(const GroupLayout& layout, const Lifetimes& lifetimes, Communicator& communicator,
                                                   WhenShort when_short) {
  auto memory = std::make_unique<GroupMemory>();
  const auto options = at::TensorOptions(layout.dtype).device(communicator.device());
  const size_t bytes = static_cast<size_t>(layout.numel) * c10::elementSize(layout.dtype);
  auto* node = communicator.node();
  if (lifetimes.parameters == Hold::shared) {
    const auto window = window_everywhere(communicator, node->rank() == 0 ? bytes : 0, when_short);
    if (!window) return nullptr;
    memory->parameters = tensor_on(window, 0, layout.numel, layout.dtype);
  } else {
    memory->parameters = at::zeros({layout.numel}, options);
  }
  if (!layout.trained) return memory;
  if (lifetimes.optimizer == Hold::sharded && on_several_hosts(communicator)) {
    try {
      memory->gradients = communicator.allocate(layout.numel, layout.dtype);
    } catch (const IoError&) {  // on all ranks alike
      if (when_short == WhenShort::fail) throw;
      return nullptr;
    }
  } else if (lifetimes.optimizer == Hold::sharded) {
    const auto window = node->allocate(bytes, when_short);
    if (!window) return nullptr;
    for (int rank = 0; rank < node->size(); rank++) memory->peer_gradients.push_back(tensor_on(window, rank, layout.numel, layout.dtype));
    memory->gradients = memory->peer_gradients[static_cast<size_t>(node->rank())];
  } else {
    memory->gradients = gradients_for_collectives(layout, communicator);
  }
  return memory;
}

FlatGroup::FlatGroup(GroupLayout layout, GroupMemory memory, const std::vector<Tensor>& tensors, const Lifetimes& lifetimes,
                     Communicator& communicator)
    : layout_(std::move(layout)), lifetimes_(lifetimes), communicator_(&communicator), memory_(std::move(memory)) {
  at::NoGradGuard no_grad;
  const bool split = lifetimes_.optimizer == Hold::sharded;
  owned_ = split ? layout_.shard(communicator.rank(), communicator.size()) : Range{0, layout_.numel};
  adopt_values(tensors);
  if (layout_.trained) adopt_gradients();
}

void FlatGroup::adopt_values(const std::vector<Tensor>& tensors) {
  const bool shared = lifetimes_.parameters == Hold::shared, leads = !shared || communicator_->node()->rank() == 0;
  std::vector<Tensor> views;
  for (const auto& [parameter, range] : layout_.placements) {
    members_.push_back(tensors[static_cast<size_t>(parameter)]);
    views.push_back(memory_.parameters.narrow(0, range.begin, range.size()).view(members_.back().sizes()));
    if (leads) views.back().copy_(members_.back());
  }
  if (shared && !on_several_hosts(*communicator_))
    communicator_->barrier();
  else if (communicator_->size() > 1)
    communicator_->broadcast(leads ? memory_.parameters : at::empty_like(memory_.parameters), 0).wait();
  for (size_t i = 0; i < members_.size(); i++) {
    members_[i].set_data(views[i]);
    homes_.push_back(members_[i].const_data_ptr());
  }
}

void FlatGroup::adopt_gradients() {
  for (const auto& peer : memory_.peer_gradients) peer_parts_.push_back(peer.narrow(0, owned_.begin, owned_.size()));
  was_absent_.assign(members_.size(), false);
  mean_ = lifetimes_.optimizer != Hold::sharded ? memory_.gradients : at::zeros({owned_.size()}, memory_.gradients.options());
  for (size_t i = 0; i < members_.size(); i++) {
    const Range range = layout_.placements[i].range;
    member_gradients_.push_back(memory_.gradients.narrow(0, range.begin, range.size()).view(members_[i].sizes()));
    members_[i].mutable_grad() = member_gradients_.back();
  }
  for (const auto& segment : layout_.segments) {
    const Range range = intersect(segment.range, owned_);
    if (range.size() == 0) continue;
    slices_.push_back({{segment.options, range},
                       memory_.parameters.narrow(0, range.begin, range.size()),
                       mean_.narrow(0, range.begin - owned_.begin, range.size()),
                       {}});
  }
}

void FlatGroup::make_optimizer_state(const FlatOptimizer& optimizer) {
  for (auto& slice : slices_) slice.state = optimizer.make_state(slice.parameters);
}

Range FlatGroup::parameters_for(StateUse use) const {
  if (use == StateUse::save) return layout_.shard(communicator_->rank(), communicator_->size());
  if (lifetimes_.parameters == Hold::whole) return {0, layout_.numel};
  const auto* node = communicator_->node();  // its ranks fill their copy together
  return layout_.shard(node->rank(), node->size());
}

Range FlatGroup::optimizer_state_for(StateUse use) const {
  return use == StateUse::save ? layout_.shard(communicator_->rank(), communicator_->size()) : owned_;
}

void FlatGroup::zero_grad() {
  if (!trained()) return;
  if (reduction_) std::exchange(reduction_, std::nullopt)->wait();  // a step that was skipped
  for (auto& member : members_) member.mutable_grad() = Tensor();
}

bool FlatGroup::settle(size_t member) {
  at::NoGradGuard no_grad;
  const Tensor& now = members_[member].grad();
  const Tensor& home = member_gradients_[member];
  if (now.unsafeGetTensorImpl() == home.unsafeGetTensorImpl()) return true;
  const bool defined = now.defined();
  if (!defined)
    home.zero_();  // it took no part
  else if (now.data_ptr() != home.data_ptr())
    move_values(home, now);
  members_[member].mutable_grad() = home;
  return defined;
}

void FlatGroup::settle(const std::vector<std::string>& names, std::vector<size_t>* absent) {
  for (size_t i = 0; i < member_gradients_.size(); i++) {
    if (settle(i) || !absent || was_absent_[i] || !members_[i].requires_grad()) continue;
    absent->push_back(static_cast<size_t>(layout_.placements[i].parameter));
    was_absent_[i] = true;
  }
  for (size_t i = 0; i < members_.size(); i++)
    if (members_[i].const_data_ptr() != homes_[i])
      throw UsageError(
          "parallel",
          fmt::format("parameter \"{}\" was moved out of its flat buffer", names[static_cast<size_t>(layout_.placements[i].parameter)]),
          "write to it in place inside write_parameters instead of replacing its data");
}

void FlatGroup::start_reduce() {
  if (reduction_ || !reduces_early(*communicator_)) return;
  reduction_ = lifetimes_.optimizer == Hold::sharded ? communicator_->reduce_scatter(mean_, memory_.gradients)
                                                     : communicator_->all_reduce(memory_.gradients);
}

void FlatGroup::scale_gradients(double factor) {
  at::NoGradGuard no_grad;
  if (trained()) memory_.gradients.mul_(factor);
}

Work FlatGroup::share_parameters() { return communicator_->gather_shared(memory_.parameters); }

void FlatGroup::reduce(double factor) {
  at::NoGradGuard no_grad;
  if (!peer_parts_.empty()) {
    scaled_sum(mean_, peer_parts_, factor);
    return;
  }
  start_reduce();
  if (reduction_)
    std::exchange(reduction_, std::nullopt)->wait();
  else if (communicator_->size() > 1)
    communicator_->all_reduce(memory_.gradients).wait();
  if (factor != 1) mean_.mul_(factor);
}

}  // namespace levin
