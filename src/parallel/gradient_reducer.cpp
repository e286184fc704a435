#include "gradient_reducer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

namespace levin {
namespace {

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

std::vector<Range> gaps_of(const GroupLayout& layout) {
  std::vector<Range> gaps;
  int64_t end = 0;
  for (const auto& [parameter, range] : layout.parameters) {
    if (range.begin > end) gaps.push_back({end, range.begin});
    end = range.end;
  }
  if (layout.numel > end) gaps.push_back({end, layout.numel});
  return gaps;
}

}  // namespace

bool GradientReducer::finish() {
  if (work_) std::exchange(work_, std::nullopt)->wait();
  return false;
}

void GradientReducer::start_sum_over_replicas() {
  if (communicators_.replicas) replicas_work_ = communicators_.replicas->all_reduce(mean_);
}

void GradientReducer::reset() {
  finish();
  if (replicas_work_) std::exchange(replicas_work_, std::nullopt)->wait();
}

void GradientReducer::multiply(const Tensor& values, double factor, const Tensor& device_factor) {
  if (device_factor.defined())
    values.mul_(factor == 1 ? device_factor : device_factor.mul(factor));
  else if (factor != 1)
    values.mul_(factor);
}

void GradientReducer::average(double factor, const Tensor& device_factor) {
  if (replicas_work_) std::exchange(replicas_work_, std::nullopt)->wait();
  multiply(mean_, factor, device_factor);
}

void PeerReadReducer::average(double factor, const Tensor&) { scaled_sum(mean_, peers_, factor); }

ShardedReducer::ShardedReducer(FlatBuffer gradients, Tensor mean, GroupCommunicators communicators, const GroupLayout& layout,
                               at::ScalarType reduce_dtype, SlotRing* ring, FlatBuffer converted)
    : GradientReducer(gradients.tensor(), std::move(mean), communicators),
      buffer_(std::move(gradients)),
      converted_(std::move(converted)),
      gaps_(gaps_of(layout)),
      reduce_dtype_(reduce_dtype) {
  (converted_.defined() ? converted_ : buffer_).use_ring(ring, [this] {
    if (work_) work_->wait();
  });
}

// Reused memory may hold anything, and the gaps are summed, too.
void ShardedReducer::acquire() {
  if (buffer_.filled()) return;
  buffer_.fill();
  for (const auto& gap : gaps_) gradients_.narrow(0, gap.begin, gap.size()).zero_();
}

void ShardedReducer::start() {
  const at::NoGradGuard no_grad;
  acquire();
  if (converted_.defined()) {
    converted_.fill_for_collective();
    sent_ = converted_.tensor();
    sent_.copy_(gradients_);
  } else {
    buffer_.fill_for_collective();
    sent_ = gradients_.to(reduce_dtype_);
  }
  const bool direct = !accumulated_ && reduce_dtype_ == mean_.scalar_type();
  received_ = direct ? mean_ : at::empty(mean_.sizes(), sent_.options());
  work_ = communicators_.shard->reduce_scatter(received_, sent_);
}

bool ShardedReducer::finish() {
  if (!work_) return false;
  const at::NoGradGuard no_grad;
  GradientReducer::finish();
  if (!received_.is_same(mean_)) accumulated_ ? mean_.add_(received_) : mean_.copy_(received_);
  sent_.reset(), received_.reset();
  accumulated_ = true;
  buffer_.drop(), converted_.drop();
  return true;
}

void ShardedReducer::scale(double factor, const Tensor& device_factor) {
  if (buffer_.filled()) multiply(gradients_, factor, device_factor);
  if (accumulated_) multiply(mean_, factor, device_factor);
}

void ShardedReducer::reset() {
  GradientReducer::reset();
  sent_.reset(), received_.reset();
  buffer_.drop(), converted_.drop();
  accumulated_ = false;
}

}  // namespace levin
