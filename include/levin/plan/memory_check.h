#pragma once
#include <cstdint>

#include "levin/core/log.h"
#include "levin/core/memory.h"
#include "levin/parallel/allocation_request.h"

namespace levin {

/// A check for Strategy::create: the planned memory of a node's ranks must fit into what the node with the least memory has free by
/// `free_memory`. `auto` takes the first of planned_strategies() that fits, and rank 0 logs it; otherwise a ConfigError names what is
/// needed and what to use instead.
MemoryCheck check_planned_memory(int64_t (*free_memory)() = &available_memory, Log log = {});

}  // namespace levin
