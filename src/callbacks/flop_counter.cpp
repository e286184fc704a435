#include "flop_counter.h"

#include <ATen/core/ivalue.h>

#include <atomic>
#include <memory>
#include <string_view>
#include <unordered_map>

namespace levin::detail {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;

// LibTorch calls an observer by a plain function.
std::atomic<uint64_t>& observed_flops() {
  static std::atomic<uint64_t> flops = 0;
  return flops;
}

uint64_t product(at::IntArrayRef sizes) {
  uint64_t elements = 1;
  for (const int64_t size : sizes) elements *= static_cast<uint64_t>(size);
  return elements;
}

// Of a sample and a channel.
uint64_t pixels(const at::Tensor& tensor) { return product(tensor.sizes().slice(2)); }

uint64_t size_of(const at::Tensor& tensor, int64_t dim) { return static_cast<uint64_t>(tensor.size(dim)); }

uint64_t elements(const at::Tensor& tensor) { return product(tensor.sizes()); }

struct Counted : at::ObserverContext {
  uint64_t flops = 0;
  bool for_each_output_pixel = false;  // known at the operator's end
};

// a [..., m, k] and b [..., k, n]
template <size_t a, size_t b>
void count_matrix_product(Inputs inputs, Counted& counted) {
  const at::Tensor& right = inputs[b].toTensor();
  counted.flops = 2 * elements(inputs[a].toTensor()) * size_of(right, -1);
}

// input, weight, bias, stride, padding, dilation, transposed, ...
void count_convolution(Inputs inputs, Counted& counted) {
  const at::Tensor &input = inputs[0].toTensor(), &weight = inputs[1].toTensor();
  const bool transposed = inputs[6].toBool();
  counted.flops = 2 * size_of(input, 0) * elements(weight) * (transposed ? pixels(input) : 1);
  counted.for_each_output_pixel = !transposed;
}

// grad_output, input, weight, bias_sizes, stride, padding, dilation, transposed, output_padding, groups, output_mask
void count_convolution_backward(Inputs inputs, Counted& counted) {
  const at::Tensor &grad_output = inputs[0].toTensor(), &input = inputs[1].toTensor(), &weight = inputs[2].toTensor();
  const auto output_mask = inputs[10].toBoolList();
  const uint64_t places = 2 * size_of(input, 0) * pixels(inputs[7].toBool() ? input : grad_output);
  if (output_mask[0]) counted.flops += places * elements(weight);
  if (output_mask[1]) counted.flops += places * pixels(weight) * size_of(input, 1) * size_of(grad_output, 1);
}

// query [batch, heads, targets, d], key [batch, heads, sources, d] and value [batch, heads, sources, d of values] from input `query` on.
// The backward computes the scores again.
template <size_t query, uint64_t products_with_keys, uint64_t products_with_values>
void count_attention(Inputs inputs, Counted& counted) {
  const at::Tensor &queries = inputs[query].toTensor(), &keys = inputs[query + 1].toTensor(), &values = inputs[query + 2].toTensor();
  const uint64_t scores = size_of(queries, 0) * size_of(queries, 1) * size_of(queries, 2) * size_of(keys, 2);
  counted.flops = 2 * scores * (products_with_keys * size_of(queries, 3) + products_with_values * size_of(values, 3));
}

using Formula = void (*)(Inputs, Counted&);

Formula formula_of(std::string_view name) {
  static const std::unordered_map<std::string_view, Formula> formulas{
      {"aten::mm", count_matrix_product<0, 1>},
      {"aten::bmm", count_matrix_product<0, 1>},
      {"aten::_scaled_mm", count_matrix_product<0, 1>},
      {"aten::addmm", count_matrix_product<1, 2>},
      {"aten::baddbmm", count_matrix_product<1, 2>},
      {"aten::convolution", count_convolution},
      {"aten::_convolution", count_convolution},
      {"aten::convolution_overrideable", count_convolution},
      {"aten::convolution_backward", count_convolution_backward},
      {"aten::_scaled_dot_product_flash_attention_for_cpu", count_attention<0, 1, 1>},
      {"aten::_scaled_dot_product_flash_attention_for_cpu_backward", count_attention<1, 3, 2>},
      {"aten::_scaled_dot_product_flash_attention", count_attention<0, 1, 1>},
      {"aten::_scaled_dot_product_flash_attention_backward", count_attention<1, 3, 2>},
      {"aten::_scaled_dot_product_efficient_attention", count_attention<0, 1, 1>},
      {"aten::_scaled_dot_product_efficient_attention_backward", count_attention<1, 3, 2>},
      {"aten::_scaled_dot_product_cudnn_attention", count_attention<0, 1, 1>},
      {"aten::_scaled_dot_product_cudnn_attention_backward", count_attention<1, 3, 2>},
  };
  const auto found = formulas.find(name);
  return found == formulas.end() ? nullptr : found->second;
}

thread_local bool inside = false;  // of a counted operator

std::unique_ptr<at::ObserverContext> begin_operator(const at::RecordFunction& function) {
  const Formula formula = inside ? nullptr : formula_of(function.name());
  if (!formula) return nullptr;
  auto counted = std::make_unique<Counted>();
  for (const auto& input : function.inputs())
    if (input.isTensor() && input.toTensor().defined() && input.toTensor().is_nested()) return nullptr;  // has no sizes
  formula(function.inputs(), *counted);
  inside = true;
  return counted;
}

void end_operator(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* counted = static_cast<Counted*>(context);
  if (!counted) return;
  inside = false;
  if (counted->for_each_output_pixel)  // no outputs: the operator threw
    counted->flops *= function.outputs().empty() ? 0 : pixels(function.outputs()[0].toTensor());
  observed_flops() += counted->flops;
}

}  // namespace

FlopCounter::FlopCounter()
    : before_(observed_flops()),
      handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(begin_operator, end_operator)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}))) {}

FlopCounter::~FlopCounter() { at::removeCallback(handle_); }

uint64_t FlopCounter::flops() const { return observed_flops() - before_; }

}  // namespace levin::detail
