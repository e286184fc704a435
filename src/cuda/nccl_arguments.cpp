#include "nccl_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "levin/core/error.h"

namespace levin {
namespace {

std::vector<int64_t> parts_of(const Tensor& tensor, std::span<const int64_t> counts, int size) {
  if (counts.empty() && tensor.numel() % size == 0) return std::vector<int64_t>(static_cast<size_t>(size), tensor.numel() / size);
  const bool fits = static_cast<int>(counts.size()) == size &&
                    std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n >= 0; }) &&
                    std::accumulate(counts.begin(), counts.end(), int64_t{0}) == tensor.numel();
  if (!fits)
    throw UsageError("cuda", fmt::format("all_to_all of {} elements in {} parts by {} ranks", tensor.numel(), counts.size(), size),
                     "give a count that is not negative for each rank; their sum is the tensor's number of elements");
  return {counts.begin(), counts.end()};
}

}  // namespace

ncclDataType_t nccl_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return ncclFloat32;
    case at::kDouble: return ncclFloat64;
    case at::kHalf: return ncclFloat16;
    case at::kBFloat16: return ncclBfloat16;
    case at::kLong: return ncclInt64;
    case at::kInt: return ncclInt32;
    case at::kChar: return ncclInt8;
    case at::kByte: return ncclUint8;
    default:
      throw UsageError("cuda", fmt::format("a reduction of {}", c10::toString(dtype)),
                       "NCCL reduces fp16, bf16, fp32, fp64, int8, uint8, int32 and int64");
  }
}

ncclRedOp_t nccl_operation(ReduceOp op, at::ScalarType dtype) {
  if (op == ReduceOp::mean && !at::isFloatingType(dtype))
    throw UsageError("cuda", fmt::format("the mean of {}", c10::toString(dtype)), "sum them, or convert to a floating-point dtype");
  switch (op) {
    case ReduceOp::sum: return ncclSum;
    case ReduceOp::mean: return ncclAvg;
    case ReduceOp::min: return ncclMin;
    case ReduceOp::max: return ncclMax;
  }
  return ncclSum;
}

void check_on_device(const Tensor& tensor, c10::Device device) {
  if (tensor.defined() && tensor.device() == device && tensor.is_contiguous()) return;
  throw UsageError("cuda",
                   fmt::format("a collective on a tensor that is {}",
                               !tensor.defined()           ? std::string("undefined")
                               : tensor.device() != device ? fmt::format("on {}, not on {}", tensor.device().str(), device.str())
                                                           : std::string("not contiguous")),
                   "give contiguous tensors of the communicator's device; cpu() takes those in host memory");
}

void check_parts_on_device(const Tensor& whole, const Tensor& part, int size, c10::Device device) {
  check_on_device(whole, device);
  check_on_device(part, device);
  if (whole.numel() == part.numel() * size && whole.scalar_type() == part.scalar_type()) return;
  throw UsageError("cuda",
                   fmt::format("the whole has {} elements of {} and this rank's part {} of {}", whole.numel(),
                               c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                   fmt::format("the whole of {} ranks has {} times as many elements of the same dtype", size, size));
}

void check_rank(const char* call, int rank, int size) {
  if (rank < 0 || rank >= size)
    throw UsageError("cuda", fmt::format("{} rank {} of {}", call, rank, size), "give a rank of the communicator");
}

std::vector<Transfer> messages_of_all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                             std::span<const int64_t> input_counts, int size, c10::Device device) {
  check_on_device(output, device);
  check_on_device(input, device);
  const auto expected = parts_of(output, output_counts, size), sent = parts_of(input, input_counts, size);
  if (output.scalar_type() != input.scalar_type() || (output_counts.empty() && input_counts.empty() && output.numel() != input.numel()))
    throw UsageError("cuda",
                     fmt::format("all_to_all from {} elements of {} to {} of {}", input.numel(), c10::toString(input.scalar_type()),
                                 output.numel(), c10::toString(output.scalar_type())),
                     "give an output of the input's dtype and, in equal parts, its number of elements");
  std::vector<Transfer> messages;
  int64_t input_begin = 0, output_begin = 0;
  for (int peer = 0; peer < size; peer++) {
    const int64_t to = sent[static_cast<size_t>(peer)], from = expected[static_cast<size_t>(peer)];
    if (to > 0) messages.push_back({Transfer::Direction::send, input.view({-1}).narrow(0, input_begin, to), peer});
    if (from > 0) messages.push_back({Transfer::Direction::recv, output.view({-1}).narrow(0, output_begin, from), peer});
    input_begin += to;
    output_begin += from;
  }
  return messages;
}

}  // namespace levin
