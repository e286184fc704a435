#include "flat_group.h"

#include <ATen/ops/empty_like.h>
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

const void* home_of(const Tensor& tensor) { return tensor.storage().unsafeGetStorageImpl(); }

Tensor cut(const Tensor& flat, Range range) { return flat.narrow(0, range.begin, range.size()); }

// Every element is saved by one rank: a shard that has replicas is divided among them.
Range saved_range(const GroupLayout& layout, const GroupCommunicators& communicators) {
  const auto* replicas = communicators.replicas;
  if (!replicas) return layout.shard(communicators.all->rank(), communicators.all->size());
  const Range whole = layout.shard(communicators.shard->rank(), communicators.shard->size());
  const int64_t part = whole.size() / replicas->size(), begin = whole.begin + part * replicas->rank();
  return {begin, begin + part};
}

}  // namespace

FlatGroup::FlatGroup(GroupLayout layout, GroupStorage storage, const std::vector<Tensor>& tensors, const Options& options,
                     const InitialValues& values)
    : layout_(std::move(layout)),
      storage_(std::move(storage)),
      saved_(saved_range(layout_, options.communicators)),
      meter_(options.meter),
      parameters_(options.parameters) {
  const at::NoGradGuard no_grad;
  adopt_parameters(tensors, values);
  if (trained()) adopt_gradients();
  store().reshard();
  if (trained()) make_slices(options.offload_optimizer);
}

void FlatGroup::adopt_parameters(const std::vector<Tensor>& tensors, const InitialValues& values) {
  const Tensor initial = store().begin_write();
  const bool writes = store().writes() || !initial.is_same(store().whole());
  std::vector<Tensor> views;
  for (const auto& [parameter, range] : layout_.parameters) {
    members_.push_back(tensors[static_cast<size_t>(parameter)]);
    views.push_back(cut(store().whole(), range).view(members_.back().sizes()));
    const Tensor target = cut(initial, range).view(members_.back().sizes());
    if (values)
      values(members_.back(), writes ? target : at::empty_like(target));
    else if (writes)
      target.copy_(members_.back());
  }
  store().share_initial(/*equal=*/static_cast<bool>(values));
  for (size_t i = 0; i < members_.size(); i++) {
    members_[i].set_data(views[i]);
    homes_.push_back(home_of(members_[i]));
  }
}

void FlatGroup::adopt_gradients() {
  was_absent_.assign(members_.size(), false);
  auto& reducer = *storage_.reducer;
  reducer.acquire();
  for (size_t i = 0; i < members_.size(); i++)
    member_gradients_.push_back(cut(reducer.gradients(), layout_.parameters[i].range).view(members_[i].sizes()));
  reducer.release();
}

void FlatGroup::make_slices(bool offload) {
  Tensor shard = store().shard(), gradients = mean();
  if (!gradients.is_cpu() && (offload || shard.is_cpu())) {
    gradients = host_mean_ = mean().cpu();
    if (!shard.is_cpu()) shard = host_shard_ = shard.cpu();
  }
  for (const auto& group_range : layout_.group_ranges) {
    const Range range = intersect(group_range.range, owned());
    if (range.size() == 0) continue;
    const Range in_shard{range.begin - owned().begin, range.end - owned().begin};
    slices_.push_back({{group_range.group_id, range}, cut(shard, in_shard), cut(gradients, in_shard), {}});
  }
}

bool FlatGroup::collect_gradient(size_t member) {
  const at::NoGradGuard no_grad;
  storage_.reducer->acquire();
  const Tensor& gradient = members_[member].grad();
  const Tensor& home = member_gradients_[member];
  if (gradient.unsafeGetTensorImpl() == home.unsafeGetTensorImpl()) return true;
  const bool defined = gradient.defined();
  if (defined && gradient.layout() != at::kStrided) {
    const auto parameter = static_cast<size_t>(layout_.parameters[member].parameter);
    throw UsageError("parallel",
                     fmt::format("parameter \"{}\" got a sparse gradient, which is not supported",
                                 parameters_ ? (*parameters_)[parameter].name : std::to_string(parameter)),
                     "compute dense gradients: sparse(false) for an embedding");
  }
  if (!defined)
    home.zero_();  // it took no part
  else if (gradient.data_ptr() != home.data_ptr())
    move_values(home, gradient);
  members_[member].mutable_grad() = home;
  return defined;
}

void FlatGroup::collect_gradients(std::vector<size_t>* absent) {
  for (size_t i = 0; i < member_gradients_.size(); i++) {
    if (collect_gradient(i) || !absent || was_absent_[i] || !members_[i].requires_grad()) continue;
    absent->push_back(static_cast<size_t>(layout_.parameters[i].parameter));
    was_absent_[i] = true;
  }
}

void FlatGroup::check_in_place(const std::vector<std::string>& names) const {
  for (size_t i = 0; i < members_.size(); i++)
    if (home_of(members_[i]) != homes_[i])
      throw UsageError(
          "parallel",
          fmt::format("parameter \"{}\" was moved out of its flat buffer", names[static_cast<size_t>(layout_.parameters[i].parameter)]),
          "write to it in place inside write_parameters instead of replacing its data");
}

void FlatGroup::finish_reduce() {
  const at::NoGradGuard no_grad;
  if (!storage_.reducer->finish()) return;
  for (auto& member : members_) member.mutable_grad() = Tensor();
}

void FlatGroup::average_gradients(double factor, const Tensor& device_factor) {
  const at::NoGradGuard no_grad;
  storage_.reducer->average(factor, device_factor);
}

void FlatGroup::scale_gradients(double factor, const Tensor& device_factor) {
  const at::NoGradGuard no_grad;
  if (trained()) storage_.reducer->scale(factor, device_factor);
}

void FlatGroup::reset_gradients() {
  if (!trained()) return;
  const at::NoGradGuard no_grad;
  for (auto& member : members_) member.mutable_grad() = Tensor();
  storage_.reducer->reset();
}

void FlatGroup::make_optimizer_state(const FlatOptimizer& optimizer) {
  for (auto& slice : slices_) {
    slice.state = optimizer.make_state(slice.parameters);
    for (const auto& tensor : slice.state.tensors) meter_->add(MemoryKind::optimizer, static_cast<int64_t>(tensor.nbytes()));
  }
}

void FlatGroup::begin_update() {
  if (host_mean_.defined()) host_mean_.copy_(mean());
}

void FlatGroup::end_update() {
  if (host_shard_.defined()) store().shard().copy_(host_shard_);
}

void FlatGroup::shard_changed() {
  const at::NoGradGuard no_grad;
  if (host_shard_.defined()) host_shard_.copy_(store().shard());
}

}  // namespace levin
