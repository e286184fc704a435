#pragma once
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <span>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// outputs[k][i] <- op over sources of source[i], for i < count, in the sources' order; fp16 and bf16 accumulate in fp32. An output may
/// be a source. UsageError for an op that the dtype does not support.
void reduce(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, at::ScalarType dtype,
            ReduceOp op);

/// The same in two steps, for sources in several places. Partial results are fp32 for fp16 and bf16, otherwise of the dtype:
/// output [count] of partial_dtype(dtype) <- op over sources (a mean's sum); reduce on partial_dtype joins such outputs;
void reduce_partial(std::byte* output, std::span<const std::byte* const> sources, size_t count, at::ScalarType dtype, ReduceOp op);
at::ScalarType partial_dtype(at::ScalarType dtype);
/// and output [count] of dtype <- partial / divisor.
void finish(std::byte* output, const std::byte* partial, size_t count, at::ScalarType dtype, int divisor);

/// Throws the UsageError that reduce would throw.
void check_reducible(at::ScalarType dtype, ReduceOp op);

const char* name_of(ReduceOp op);

}  // namespace levin::detail
