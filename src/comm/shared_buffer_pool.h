#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "levin/comm/shared_buffer_pool.h"
#include "mapped_window.h"

namespace levin::detail {

/// Creates a pool of buffers of sizes `request.bytes`. A rank calls `wait` while another rank holds the table's lock; it may throw. Null,
/// with the failure, if any rank fails, or if the file system has no space for two of the largest buffers. Collective.
std::shared_ptr<SharedBufferPool> map_buffer_pool(const WindowRequest& request, const GatherErrno& gather_errno, std::function<void()> wait,
                                                  WindowFailure& failure);

/// The pool of a group of one rank.
std::shared_ptr<SharedBufferPool> private_buffer_pool(const std::vector<size_t>& bytes);

}  // namespace levin::detail
