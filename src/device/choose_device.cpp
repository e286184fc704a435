#include "levin/device/choose_device.h"

#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/same_on_all_ranks.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"

namespace levin {

ChosenDevice choose_device(const AcceleratorRegistry& accelerators, const std::string& name, const MpiRuntime& runtime,
                           const Topology& topology) {
  auto chosen = on_all_ranks(runtime.communicator(), "device", [&] {
    auto accelerator = accelerators.create(name, runtime.rank() == 0 ? runtime.log() : Log());
    const auto device = accelerator->device(topology.self().local_rank, topology.local_size());
    return ChosenDevice{std::move(accelerator), device};
  });
  const Agreement agreement = check_same_on_all_ranks(runtime, {ExitCode::finished, "", {{"accelerator", chosen.accelerator->name()}}});
  if (!agreement.good())
    throw ConfigError(fmt::format("accelerator {} is not the same on all ranks: {}", name, agreement.message),
                      "start the ranks on hosts of one kind, or choose an accelerator that all of them have", "device");
  return chosen;
}

}  // namespace levin
