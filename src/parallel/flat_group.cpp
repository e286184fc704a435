#include "levin/parallel/flat_group.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cstring>
#include <utility>

#include "levin/core/error.h"

namespace levin {
namespace {

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

const void* home_of(const Tensor& tensor) { return tensor.storage().unsafeGetStorageImpl(); }

Tensor cut(const Tensor& flat, Range range) { return flat.narrow(0, range.begin, range.size()); }

}  // namespace

FlatGroup::FlatGroup(GroupLayout layout, GroupMemory memory, const std::vector<Tensor>& tensors, Setup setup, const InitialValues& values)
    : layout_(std::move(layout)), setup_(std::move(setup)), memory_(std::move(memory)) {
  at::NoGradGuard no_grad;
  const auto& shard = *setup_.ranks.shard;
  owned_ = setup_.lifetimes.optimizer == Hold::sharded ? layout_.shard(shard.rank(), shard.size()) : Range{0, layout_.numel};
  memory_.gathered.fill();
  adopt_values(tensors, values);
  if (layout_.trained) adopt_gradients();
  memory_.gathered.drop();
}

void FlatGroup::adopt_values(const std::vector<Tensor>& tensors, const InitialValues& values) {
  auto& all = *setup_.ranks.all;
  const bool one_copy = setup_.lifetimes.parameters == Hold::shared || setup_.lifetimes.gathers_once;
  const bool leads = !one_copy || all.node()->rank() == 0;
  if (memory_.gathered.filled() && leads) memory_.parameters.zero_();
  std::vector<Tensor> views;
  for (const auto& [parameter, range] : layout_.placements) {
    members_.push_back(tensors[static_cast<size_t>(parameter)]);
    views.push_back(cut(memory_.parameters, range).view(members_.back().sizes()));
    if (values)
      values(members_.back(), leads ? views.back() : at::empty_like(views.back()));
    else if (leads)
      views.back().copy_(members_.back());
  }
  if (one_copy && (values || !on_several_hosts(all)))
    all.barrier();
  else if (all.size() > 1 && !values)
    all.broadcast(leads ? memory_.parameters : at::empty_like(memory_.parameters), 0).wait();
  for (size_t i = 0; i < members_.size(); i++) {
    members_[i].set_data(views[i]);
    homes_.push_back(home_of(members_[i]));
  }
  if (parameters_sharded()) keep_part();
}

// What the optimizer updates.
Tensor FlatGroup::part_of_parameters() const { return parameters_sharded() ? memory_.shard : cut(memory_.parameters, owned_); }

void FlatGroup::keep_part() {
  memory_.shard.copy_(cut(memory_.parameters, owned_));
  part_changed();
}

void FlatGroup::part_changed() {
  at::NoGradGuard no_grad;
  if (host_part_.defined()) host_part_.copy_(part_of_parameters());
}

void FlatGroup::begin_update() {
  if (host_mean_.defined()) host_mean_.copy_(mean_);
}

void FlatGroup::end_update() {
  if (host_part_.defined()) part_of_parameters().copy_(host_part_);
}

void FlatGroup::adopt_gradients() {
  for (const auto& peer : memory_.peer_gradients) peer_parts_.push_back(cut(peer, owned_));
  was_absent_.assign(members_.size(), false);
  const auto dtype = at::TensorOptions(layout_.dtype).device(memory_.gradients.device());
  if (setup_.lifetimes.optimizer == Hold::sharded) {
    mean_ = at::zeros({owned_.size()}, dtype);
    setup_.meter->add(MemoryKind::gradients, static_cast<int64_t>(mean_.nbytes()));
  } else {
    mean_ = memory_.gradients;
  }
  memory_.unreduced.fill();
  for (size_t i = 0; i < members_.size(); i++) {
    member_gradients_.push_back(cut(memory_.gradients, layout_.placements[i].range).view(members_[i].sizes()));
    if (!gradients_sharded()) members_[i].mutable_grad() = member_gradients_.back();
  }
  memory_.unreduced.drop();
  Tensor part = part_of_parameters(), gradients = mean_;
  if (!gradients.is_cpu() && (setup_.offload_optimizer || part.is_cpu())) {
    gradients = host_mean_ = mean_.cpu();
    if (!part.is_cpu()) part = host_part_ = part.cpu();
  }
  for (const auto& segment : layout_.segments) {
    const Range range = intersect(segment.range, owned_);
    if (range.size() == 0) continue;
    const Range in_part{range.begin - owned_.begin, range.end - owned_.begin};
    slices_.push_back({{segment.options, range}, cut(part, in_part), cut(gradients, in_part), {}});
  }
}

void FlatGroup::make_optimizer_state(const FlatOptimizer& optimizer) {
  for (auto& slice : slices_) {
    slice.state = optimizer.make_state(slice.parameters);
    for (const auto& tensor : slice.state.tensors) setup_.meter->add(MemoryKind::optimizer, static_cast<int64_t>(tensor.nbytes()));
  }
}

void FlatGroup::start_gather() {
  if (!parameters_sharded() || gathered()) return;
  at::NoGradGuard no_grad;
  auto& shard = *setup_.ranks.shard;
  memory_.gathered.fill();
  shard.set_subject(setup_.subject);
  if (setup_.lifetimes.gathers_once) {
    cut(memory_.parameters, owned_).copy_(memory_.shard);
    gather_ = shard.gather_shared(memory_.gathered.lent());
  } else {
    sent_ = memory_.shard.to(memory_.parameters.options());
    gather_ = shard.all_gather(memory_.parameters, sent_);
  }
  shard.set_subject(0);
}

void FlatGroup::gather() {
  start_gather();
  if (!gather_) return;
  std::exchange(gather_, std::nullopt)->wait();
  sent_.reset();
}

void FlatGroup::release() {
  if (gather_) gather();
  memory_.gathered.drop();
}

Range FlatGroup::saved_part() const {
  const auto* replicas = setup_.ranks.replicas;
  if (!replicas) return layout_.shard(setup_.ranks.all->rank(), setup_.ranks.all->size());
  const auto& shard = *setup_.ranks.shard;
  const Range whole = layout_.shard(shard.rank(), shard.size());
  const int64_t part = whole.size() / replicas->size(), begin = whole.begin + part * replicas->rank();
  return {begin, begin + part};
}

Range FlatGroup::parameters_for(StateUse use) const {
  if (use == StateUse::save) return saved_part();
  if (parameters_sharded()) return layout_.shard(setup_.ranks.shard->rank(), setup_.ranks.shard->size());
  if (setup_.lifetimes.parameters == Hold::whole) return {0, layout_.numel};
  const auto* node = setup_.ranks.all->node();  // its ranks fill their copy together
  return layout_.shard(node->rank(), node->size());
}

Range FlatGroup::optimizer_state_for(StateUse use) const { return use == StateUse::save ? saved_part() : owned_; }

Tensor FlatGroup::values(Range part) const {
  const int64_t begin = parameters_sharded() ? owned_.begin : 0;
  return cut(parameters_sharded() ? memory_.shard : memory_.parameters, {part.begin - begin, part.end - begin});
}

void FlatGroup::zero_grad() {
  if (!trained()) return;
  if (reduction_) std::exchange(reduction_, std::nullopt)->wait();  // a step that was skipped
  for (auto& member : members_) member.mutable_grad() = Tensor();
  memory_.unreduced.drop();
  accumulated_ = reduced_ = false;
}

// Memory of other use may hold anything; what no parameter fills is summed, too.
void FlatGroup::make_room_for_gradients() {
  if (!gradients_sharded() || memory_.unreduced.filled()) return;
  memory_.unreduced.fill();
  int64_t end = 0;
  for (const auto& placement : layout_.placements) {
    if (placement.range.begin > end) cut(memory_.gradients, {end, placement.range.begin}).zero_();
    end = placement.range.end;
  }
  if (layout_.numel > end) cut(memory_.gradients, {end, layout_.numel}).zero_();
}

bool FlatGroup::settle(size_t member) {
  at::NoGradGuard no_grad;
  make_room_for_gradients();
  const Tensor& now = members_[member].grad();
  const Tensor& home = member_gradients_[member];
  if (now.unsafeGetTensorImpl() == home.unsafeGetTensorImpl()) return true;
  const bool defined = now.defined();
  if (defined && now.layout() != at::kStrided) {
    const auto parameter = static_cast<size_t>(layout_.placements[member].parameter);
    throw UsageError("parallel",
                     fmt::format("parameter \"{}\" got a sparse gradient, which is not supported",
                                 setup_.parameter_names ? (*setup_.parameter_names)[parameter] : std::to_string(parameter)),
                     "call its embedding with sparse false");
  }
  if (!defined)
    home.zero_();  // it took no part
  else if (now.data_ptr() != home.data_ptr())
    move_values(home, now);
  members_[member].mutable_grad() = home;
  return defined;
}

void FlatGroup::settle(const std::vector<std::string>& names, std::vector<size_t>* absent) {
  for (size_t i = 0; i < members_.size(); i++)
    if (home_of(members_[i]) != homes_[i])
      throw UsageError(
          "parallel",
          fmt::format("parameter \"{}\" was moved out of its flat buffer", names[static_cast<size_t>(layout_.placements[i].parameter)]),
          "write to it in place inside write_parameters instead of replacing its data");
  if (settled()) return;
  for (size_t i = 0; i < member_gradients_.size(); i++) {
    if (settle(i) || !absent || was_absent_[i] || !members_[i].requires_grad()) continue;
    absent->push_back(static_cast<size_t>(layout_.placements[i].parameter));
    was_absent_[i] = true;
  }
}

void FlatGroup::start_reduce() {
  auto& shard = *setup_.ranks.shard;
  if (reduction_ || settled()) return;
  if (gradients_sharded()) {
    at::NoGradGuard no_grad;
    reduced_ = true;
    const auto dtype = setup_.reduce_dtype ? scalar_type_of(*setup_.reduce_dtype) : memory_.gradients.scalar_type();
    sent_ = memory_.gradients.to(dtype);
    received_ = accumulated_ || dtype != layout_.dtype ? at::empty({owned_.size()}, sent_.options()) : mean_;
    reduction_ = shard.reduce_scatter(received_, sent_);
  } else if (reduces_early(*setup_.ranks.all)) {
    reduction_ =
        setup_.lifetimes.optimizer == Hold::sharded ? shard.reduce_scatter(mean_, memory_.gradients) : shard.all_reduce(memory_.gradients);
  }
}

void FlatGroup::scale_gradients(double factor) {
  at::NoGradGuard no_grad;
  if (!trained()) return;
  if (!gradients_sharded() || memory_.unreduced.filled()) memory_.gradients.mul_(factor);
  if (accumulated_) mean_.mul_(factor);
}

void FlatGroup::finish_reduce() {
  if (!gradients_sharded() || !reduction_) return;
  at::NoGradGuard no_grad;
  std::exchange(reduction_, std::nullopt)->wait();
  if (!received_.is_same(mean_)) accumulated_ ? mean_.add_(received_) : mean_.copy_(received_);
  sent_.reset(), received_.reset();
  accumulated_ = true;
  for (auto& member : members_) member.mutable_grad() = Tensor();
  memory_.unreduced.drop();
}

Work FlatGroup::share_parameters() {
  if (setup_.lifetimes.parameters == Hold::shared) return setup_.ranks.all->gather_shared(memory_.parameters);
  return setup_.ranks.shard->all_gather(memory_.parameters, part_of_parameters());
}

void FlatGroup::reduce(double factor) {
  at::NoGradGuard no_grad;
  if (!peer_parts_.empty()) {
    scaled_sum(mean_, peer_parts_, factor);
    return;
  }
  start_reduce();
  if (gradients_sharded())
    finish_reduce();
  else if (reduction_)
    std::exchange(reduction_, std::nullopt)->wait();
  else if (setup_.ranks.shard->size() > 1 && setup_.lifetimes.optimizer == Hold::sharded)
    setup_.ranks.shard->reduce_scatter(mean_, memory_.gradients).wait();
  else if (setup_.ranks.shard->size() > 1)
    setup_.ranks.shard->all_reduce(memory_.gradients).wait();
  if (setup_.ranks.replicas) setup_.ranks.replicas->all_reduce(mean_).wait();
  if (factor != 1) mean_.mul_(factor);
}

}  // namespace levin
