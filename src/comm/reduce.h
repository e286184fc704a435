#pragma once
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <span>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// outputs[k][i] <- op over sources of source[i], for i < count, in the sources' order; fp16 and bf16 accumulate in fp32. An output may
/// be a source. UsageError for an op that the dtype does not have.
void reduce(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, at::ScalarType dtype,
            ReduceOp op);

/// Throws the UsageError of reduce, if there is one.
void check_reducible(at::ScalarType dtype, ReduceOp op);

const char* name_of(ReduceOp op);

}  // namespace levin::detail
