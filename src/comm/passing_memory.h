#pragma once
#include <functional>
#include <memory>

#include "levin/comm/node_group.h"
#include "mapped_window.h"

namespace levin::detail {

/// Such memory of `request.bytes` in all. `wait` is called while another rank changes it, and may throw. Null, with the failure, where a
/// rank could not, or where the file system has no room for all of it now. Collective.
std::shared_ptr<PassingMemory> map_passing(const WindowRequest& request, const AgreeErrno& agree, std::function<void()> wait,
                                           WindowFailure& failure);

/// That of a group of one rank.
std::shared_ptr<PassingMemory> private_passing(size_t bytes);

}  // namespace levin::detail
