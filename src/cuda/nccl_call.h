#pragma once
#include <c10/core/Device.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <optional>

namespace levin {

/// Called again and again in waits; throws when another rank has ended the job.
using Poll = std::function<void()>;

/// Runs a call of NCCL that waits for other ranks without a limit in a thread, and waits for that thread. Polls meanwhile. Nothing after
/// `limit`. Where this function leaves before the call returns, by the limit or an exception, the thread runs `too_late` after the call, so
/// both must own what they use. NCCL cannot end such a call from outside without a race.
std::optional<ncclResult_t> call_with_limit(c10::Device device, std::chrono::milliseconds limit, const Poll& poll,
                                            std::function<ncclResult_t()> call, std::function<void(ncclResult_t)> too_late);

}  // namespace levin
