#pragma once
#include <c10/core/Device.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <optional>

namespace levin {

/// Called in waits, every few milliseconds; throws when another rank has ended the job.
using Poll = std::function<void()>;

/// Runs a call of NCCL that waits for other ranks in a thread, and polls until it returns. nullopt after `limit`. If this function leaves
/// first, by the limit or an exception of `poll`, the thread runs `too_late` after the call; both own what they use. In blocking mode NCCL
/// has no call that ends another one without a race.
std::optional<ncclResult_t> call_with_limit(c10::Device device, std::chrono::milliseconds limit, const Poll& poll,
                                            std::function<ncclResult_t()> call, std::function<void(ncclResult_t)> too_late);

}  // namespace levin
