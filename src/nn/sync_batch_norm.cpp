#include "levin/nn/sync_batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/batch_norm_native.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/instance_norm_native.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/var_mean.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "batch_norm_kernels.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/nn/batch_norm_recorder.h"
#include "levin/nn/module_buffers.h"

namespace levin {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<Tensor>;

thread_local SyncBatchNorm::Scope* batch_scope = nullptr;
thread_local bool inside_kernel = false;  // LibTorch's own normalization runs, and means this rank alone

class InsideKernel {
 public:
  InsideKernel() : before_(std::exchange(inside_kernel, true)) {}
  ~InsideKernel() { inside_kernel = before_; }
  InsideKernel(const InsideKernel&) = delete;
  InsideKernel& operator=(const InsideKernel&) = delete;

 private:
  bool before_;
};

// [C] for the channels of an input [N, C, ...].
Tensor over_channels(const Tensor& values, const Tensor& input) {
  std::vector<int64_t> shape(static_cast<size_t>(input.dim()), 1);
  shape[1] = -1;
  return values.view(shape);
}

std::vector<int64_t> all_but_channels(const Tensor& input) {
  std::vector<int64_t> dims{0};
  for (int64_t i = 2; i < input.dim(); i++) dims.push_back(i);
  return dims;
}

at::ScalarType computation_dtype(const Tensor& input) { return input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

struct BatchStatistics {
  Tensor mean, variance, count;  // [C], [C], [1], in fp64
};

// In fp64 sums of squares lose nothing that an fp32 result would show.
BatchStatistics statistics_of_all_ranks(const Tensor& input, const SyncBatchNorm::Scope& scope) {
  const int64_t channels = input.size(1);
  const auto options = input.options().dtype(at::kDouble);
  Tensor packed = at::zeros({2 * channels + 1}, options);
  if (!scope.padding()) {
    const int64_t values = input.numel() / channels;
    const auto count = static_cast<double>(values);
    const auto [variance, mean] = at::var_mean(input.to(computation_dtype(input)), all_but_channels(input), /*unbiased=*/false);
    const Tensor wide = mean.to(at::kDouble);
    packed.narrow(0, 0, channels).copy_(wide * count);
    packed.narrow(0, channels, channels).copy_((variance.to(at::kDouble) + wide * wide) * count);
    packed.narrow(0, 2 * channels, 1).fill_(count);
  }
  scope.sync().ranks().all_reduce(packed, ReduceOp::sum, "the statistics of a batch normalization").wait();
  const Tensor count = packed.narrow(0, 2 * channels, 1).clamp_min(1);
  const Tensor mean = packed.narrow(0, 0, channels) / count;
  return {mean, (packed.narrow(0, channels, channels) / count - mean * mean).clamp_min(0), count};
}

void update_running(SyncBatchNorm::Scope& scope, const Tensor& running, const Tensor& value, double momentum) {
  const at::NoGradGuard no_grad;
  const Tensor next = scope.current(running) * (1 - momentum) + value.to(running.scalar_type()) * momentum;
  if (!scope.padding())
    running.copy_(next);
  else if (torch::autograd::get_current_graph_task_id() < 0)  // a computation that is repeated in a backward counts once
    scope.set_at_end(running, next);
}

struct SyncBatchNormFunction : torch::autograd::Function<SyncBatchNormFunction> {
  // Of an undefined tensor apply would want the device; it leaves out an empty optional.
  static Tensor forward(AutogradContext* graph, const Tensor& input, const MaybeTensor& weight, const MaybeTensor& bias, const Tensor& mean,
                        const Tensor& inverse_deviation, const Tensor& count, SyncBatchNorm* sync, bool padding) {
    graph->save_for_backward({input, weight.value_or(Tensor()), mean, inverse_deviation, count});
    graph->saved_data["sync"] = reinterpret_cast<int64_t>(sync);
    graph->saved_data["padding"] = padding;
    const auto dtype = computation_dtype(input);
    Tensor output = (input.to(dtype) - over_channels(mean, input)) * over_channels(inverse_deviation, input);
    if (weight && weight->defined()) output.mul_(over_channels(weight->to(dtype), input));
    if (bias && bias->defined()) output.add_(over_channels(bias->to(dtype), input));
    return output.to(input.scalar_type());
  }

  static variable_list backward(AutogradContext* graph, variable_list gradients) {
    if (at::GradMode::is_enabled())
      throw UsageError("nn", "a gradient of a gradient through a synchronized batch normalization", "set sync_batchnorm to false");
    const auto saved = graph->get_saved_variables();
    const auto &input = saved[0], &weight = saved[1], &mean = saved[2], &inverse_deviation = saved[3], &count = saved[4];
    const auto dtype = computation_dtype(input);
    const int64_t channels = input.size(1);
    const Tensor gradient = gradients[0].to(dtype);
    const Tensor normalized = (input.to(dtype) - over_channels(mean, input)) * over_channels(inverse_deviation, input);
    const auto dims = all_but_channels(input);
    const Tensor of_bias = gradient.sum(dims), of_weight = (gradient * normalized).sum(dims);
    variable_list all(8);
    if (weight.defined()) {
      all[1] = of_weight.to(weight.scalar_type());
      all[2] = of_bias.to(weight.scalar_type());
    }
    if (!graph->needs_input_grad(0)) return all;
    const bool padding = graph->saved_data["padding"].toBool();
    auto* const sync = reinterpret_cast<SyncBatchNorm*>(graph->saved_data["sync"].toInt());  // NOLINT(performance-no-int-to-ptr)
    Tensor sums = at::cat({of_bias, of_weight}).to(at::kDouble);
    if (padding) sums.zero_();
    sync->ranks().all_reduce(sums, ReduceOp::sum, "the gradient of a batch normalization").wait();
    const Tensor means = (sums / count).to(dtype);
    Tensor of_input = gradient - over_channels(means.narrow(0, 0, channels), input) -
                      normalized * over_channels(means.narrow(0, channels, channels), input);
    of_input.mul_(over_channels(weight.defined() ? inverse_deviation * weight.to(dtype) : inverse_deviation, input));
    if (padding) of_input.zero_();  // its values are in nobody's statistics
    all[0] = of_input.to(input.scalar_type());
    return all;
  }
};

// Normalizes by the statistics of this rank's batch, and gives them to the recorder in place of the running statistics. A batch with one
// value a channel has no variance, and counts nothing.
Tensor record_batch(BatchNormRecorder& recorder, const Tensor& input, const MaybeTensor& weight, const MaybeTensor& bias,
                    const Tensor& running_mean, const Tensor& running_var, double epsilon, bool cudnn_enabled) {
  const Tensor mean = at::zeros_like(running_mean), variance = at::zeros_like(running_var);
  Tensor output = at::native::batch_norm(input, weight, bias, mean, variance, /*training=*/true, /*momentum=*/1, epsilon, cudnn_enabled);
  if (input.numel() > input.size(1)) recorder.add(running_mean, mean, variance);
  return output;
}

Tensor batch_norm_kernel(const Tensor& input, const MaybeTensor& weight, const MaybeTensor& bias, const MaybeTensor& running_mean,
                         const MaybeTensor& running_var, bool training, double momentum, double epsilon, bool cudnn_enabled) {
  auto* const scope = batch_scope;
  const bool of_batch = training && !inside_kernel && input.dim() >= 2;
  auto* const recorder = of_batch && running_mean && running_mean->defined() ? BatchNormRecorder::current() : nullptr;
  if (!scope || !of_batch) {
    const InsideKernel inside;
    if (recorder) return record_batch(*recorder, input, weight, bias, *running_mean, *running_var, epsilon, cudnn_enabled);
    return at::native::batch_norm(input, weight, bias, running_mean, running_var, training, momentum, epsilon, cudnn_enabled);
  }
  const auto statistics = [&] {
    const at::NoGradGuard no_grad;
    return statistics_of_all_ranks(input.detach(), *scope);
  }();
  const auto& [mean, variance, count] = statistics;
  const Tensor unbiased = variance * (count / (count - 1).clamp_min(1));
  if (recorder) {
    recorder->add(*running_mean, mean, unbiased);
  } else if (running_mean && running_mean->defined()) {
    update_running(*scope, *running_mean, mean, momentum);
    update_running(*scope, *running_var, unbiased, momentum);
  }
  const auto dtype = computation_dtype(input);
  return SyncBatchNormFunction::apply(input, weight, bias, mean.to(dtype), at::rsqrt(variance + epsilon).to(dtype), count, &scope->sync(),
                                      scope->padding());
}

// LibTorch computes it by a batch_norm, whose statistics belong to a sample.
Tensor instance_norm_kernel(const Tensor& input, const MaybeTensor& weight, const MaybeTensor& bias, const MaybeTensor& running_mean,
                            const MaybeTensor& running_var, bool use_input_stats, double momentum, double epsilon, bool cudnn_enabled) {
  const InsideKernel inside;
  return at::native::instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, epsilon, cudnn_enabled);
}

}  // namespace

// The forward of LibTorch's modules is not virtual. All of them, and exported models, call this operator, which LibTorch composes of
// others: a kernel registered for a device's autograd key takes precedence. Outside of a scope it does what LibTorch does, unless a
// recorder takes the statistics.
void detail::register_batch_norm_kernels() {
  static const auto libraries = [] {
    std::vector<torch::Library> made;
    for (const auto key : {c10::DispatchKey::AutogradCPU, c10::DispatchKey::AutogradCUDA, c10::DispatchKey::AutogradPrivateUse1}) {
      auto& library = made.emplace_back(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
      library.impl("batch_norm", TORCH_FN(batch_norm_kernel));
      library.impl("instance_norm", TORCH_FN(instance_norm_kernel));
    }
    return made;
  }();
  (void)libraries;
}

SyncBatchNorm::SyncBatchNorm(Communicator& ranks) : ranks_(ranks) { detail::register_batch_norm_kernels(); }

SyncBatchNorm::Scope::Scope(SyncBatchNorm* sync, torch::nn::Module& module, bool padding) noexcept
    : sync_(sync), module_(module), padding_(padding), exceptions_(std::uncaught_exceptions()), outer_(batch_scope) {
  if (sync_) batch_scope = this;
}

bool SyncBatchNorm::Scope::is_open() noexcept { return batch_scope != nullptr; }

SyncBatchNorm::Scope::~Scope() {
  if (sync_) batch_scope = outer_;
  if (pending_.empty() || std::uncaught_exceptions() > exceptions_) return;
  const at::NoGradGuard no_grad;
  const auto slots = buffer_slots(module_);
  for (auto& [running, value] : pending_) {
    running.copy_(value);
    for (const auto& [name, slot] : slots) {
      constexpr std::string_view mean = "running_mean", count = "num_batches_tracked";
      if (!slot->is_same(running) || !name.ends_with(mean)) continue;
      const std::string counter = name.substr(0, name.size() - mean.size()) + std::string(count);
      for (const auto& other : slots)
        if (other.name == counter && other.slot->defined()) other.slot->add_(1);
    }
  }
}

Tensor SyncBatchNorm::Scope::current(const Tensor& running) const {
  for (auto known = pending_.rbegin(); known != pending_.rend(); ++known)
    if (known->first.is_same(running)) return known->second;
  return running;
}

}  // namespace levin
