#pragma once
#include <variant>

#include "levin/core/config.h"

namespace levin {

/// single on one rank, ddp on several.
struct AutoStrategy {};
LEVIN_CONFIG(AutoStrategy)
LEVIN_CHOICE(AutoStrategy, "auto")

/// One rank, nothing shared.
struct SingleDevice {};
LEVIN_CONFIG(SingleDevice)
LEVIN_CHOICE(SingleDevice, "single_device", "single")

/// How far one copy of the parameters is shared between ranks on CPUs.
enum class ShareParameters {
  automatic,  ///< node where shared memory has room, else none, with a warning
  node,       ///< one copy a node; an error where shared memory has no room
  none        ///< a private copy a rank
};
LEVIN_ENUM(ShareParameters, (automatic, "auto"), (node, "node"), (none, "none"))

/// Data parallelism: every rank computes on samples of its own, gradients are averaged.
struct DDP {
  ShareParameters share_parameters = ShareParameters::automatic;
};
LEVIN_CONFIG(DDP, (share_parameters, "how far ranks on CPUs share one copy of the parameters"))
LEVIN_CHOICE(DDP, "ddp")

using StrategyConfig = std::variant<AutoStrategy, SingleDevice, DDP>;

}  // namespace levin
