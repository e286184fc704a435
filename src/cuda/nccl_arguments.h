#pragma once
#include <c10/core/Device.h>
#include <nccl.h>

#include <cstdint>
#include <span>
#include <vector>

#include "levin/comm/communicator.h"

namespace levin {

/// UsageError for a dtype, or an operation on it, that NCCL does not reduce.
ncclDataType_t nccl_type(at::ScalarType dtype);
ncclRedOp_t nccl_operation(ReduceOp op, at::ScalarType dtype);

/// UsageError for a tensor that a collective on `device` does not take.
void check_on_device(const Tensor& tensor, c10::Device device);
void check_parts_on_device(const Tensor& whole, const Tensor& part, int size, c10::Device device);
/// UsageError unless 0 <= rank < size; `call` is "broadcast from", "a message to or from".
void check_rank(const char* call, int rank, int size);

/// The messages of an all_to_all, after a check of both sides.
std::vector<Transfer> messages_of_all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                             std::span<const int64_t> input_counts, int size, c10::Device device);

}  // namespace levin
