#include "levin/nn/batch_norm_recorder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "batch_norm_kernels.h"
#include "levin/core/error.h"

namespace levin {
namespace {

thread_local BatchNormRecorder* thread_recorder = nullptr;

template <class Sums>
auto find_sums(Sums& all, const Tensor& running_mean) {
  return std::find_if(all.begin(), all.end(), [&](const auto& sums) { return sums.running_mean.is_same(running_mean); });
}

}  // namespace

BatchNormRecorder::BatchNormRecorder() {
  if (thread_recorder) throw UsageError("nn", "two BatchNormRecorders on one thread", "destroy one first");
  detail::register_batch_norm_kernels();
  thread_recorder = this;
}

BatchNormRecorder::~BatchNormRecorder() { thread_recorder = nullptr; }

BatchNormRecorder* BatchNormRecorder::current() noexcept { return thread_recorder; }

const BatchNormRecorder::Sums* BatchNormRecorder::find(const Tensor& running_mean) const {
  const auto found = find_sums(sums_, running_mean);
  return found == sums_.end() ? nullptr : &*found;
}

void BatchNormRecorder::add(const Tensor& running_mean, const Tensor& mean, const Tensor& variance) {
  const at::NoGradGuard no_grad;
  auto sums = find_sums(sums_, running_mean);
  if (sums == sums_.end()) sums = sums_.insert(sums, Sums{.running_mean = running_mean});
  sums->calls++;
  if (weight_ == 0) return;
  const Tensor weighted_mean = mean.to(at::kDouble) * weight_, weighted_variance = variance.to(at::kDouble) * weight_;
  sums->mean = sums->mean.defined() ? sums->mean + weighted_mean : weighted_mean;
  sums->variance = sums->variance.defined() ? sums->variance + weighted_variance : weighted_variance;
  sums->weight += weight_;
}

}  // namespace levin
