#include "levin/device/choose_device.h"

#include <optional>

#include "levin/comm/agree.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"

namespace levin {

ChosenDevice choose_device(const AcceleratorRegistry& accelerators, const std::string& name, const MpiRuntime& runtime,
                           const Topology& topology) {
  std::unique_ptr<Accelerator> accelerator;
  std::optional<c10::Device> device;
  std::exception_ptr failure;
  Standing standing;
  try {
    accelerator = accelerators.create(name, runtime.rank() == 0 ? runtime.log() : Log());
    device = accelerator->device(topology.self().local_rank, topology.local_size());
    standing.must_be_equal = {{"accelerator", accelerator->name()}};
  } catch (const Error& error) {
    failure = std::current_exception();
    standing = {error.exit_code(), error.what(), {}};
  }
  const Agreement agreement = agree(runtime, standing);
  if (failure) std::rethrow_exception(failure);
  if (!agreement.good())
    throw ConfigError(fmt::format("accelerator {} is not the same on all ranks: {}", name, agreement.message),
                      "start the ranks on hosts of one kind, or choose an accelerator that all of them have", "device");
  return {std::move(accelerator), *device};
}

}  // namespace levin
