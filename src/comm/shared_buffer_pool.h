#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "levin/comm/shared_buffer_pool.h"
#include "mapped_window.h"

namespace levin::detail {

/// Such memory for things of `request.bytes`. `wait` is called while another rank changes what is held, and may throw. Null, with the
/// failure, where a rank could not, or where the file system has no room for the largest two now. Collective.
std::shared_ptr<SharedBufferPool> map_buffer_pool(const WindowRequest& request, const GatherErrno& gather_errno, std::function<void()> wait,
                                                  WindowFailure& failure);

/// That of a group of one rank.
std::shared_ptr<SharedBufferPool> private_buffer_pool(const std::vector<size_t>& bytes);

}  // namespace levin::detail
