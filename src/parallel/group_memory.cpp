#include "levin/parallel/group_memory.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"

namespace levin {
namespace {

// The window lives as long as a tensor on it.
Tensor tensor_on(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype) {
  void* start = window->part(rank);
  return at::from_blob(
      start, {numel}, [window](void*) {}, at::TensorOptions(dtype));
}

// Memory that needs no copies in a collective, where there is room for it.
Tensor for_collectives(int64_t numel, at::ScalarType dtype, Communicator& communicator) {
  if (communicator.size() > 1) try {
      return communicator.allocate(numel, dtype);
    } catch (const IoError&) {  // on all ranks alike
    }
  return at::zeros({numel}, at::TensorOptions(dtype).device(communicator.device()));
}

// Hosts make theirs apart; where one has no room, none of them has it.
template <class Make>
auto on_all_hosts(Communicator& communicator, WhenShort when_short, const Make& make) {
  if (!on_several_hosts(communicator)) return make(*communicator.node(), when_short);
  auto made = make(*communicator.node(), WhenShort::return_null);
  if (all_min(communicator, made ? 1 : 0) != 0) return made;
  if (when_short == WhenShort::fail)
    throw IoError("a host's shared memory (such as /dev/shm) has too little room for what its ranks share of the parameters",
                  "enlarge its /dev/shm, or use another window_directory or private memory", "parallel");
  return decltype(made)();
}

}  // namespace

at::ScalarType scalar_type_of(TransferDtype dtype) {
  return dtype == TransferDtype::bfloat16 ? at::kBFloat16 : dtype == TransferDtype::float16 ? at::kHalf : at::kFloat;
}

bool on_several_hosts(Communicator& communicator) {
  const auto* node = communicator.node();
  return node && node->size() < communicator.size();
}

bool reduces_early(Communicator& communicator) {
  return communicator.size() > 1 && (communicator.node() == nullptr || on_several_hosts(communicator));
}

std::shared_ptr<PassingMemory> allocate_passing(const std::vector<size_t>& bytes, Communicator& communicator, WhenShort when_short) {
  return on_all_hosts(communicator, when_short,
                      [&](NodeGroup& node, WhenShort short_of) { return node.allocate_passing(bytes, short_of); });
}

std::unique_ptr<GroupMemory> GroupMemory::allocate(const GroupLayout& layout, const Wanted& wanted, const GroupRanks& ranks,
                                                   BufferPools& pools, MemoryMeter& meter, WhenShort when_short) {
  auto memory = std::make_unique<GroupMemory>();
  const auto& [lifetimes, compute, shard_on_host, thing] = wanted;
  Communicator& all = *ranks.all;
  const auto device = all.device();
  const size_t bytes = static_cast<size_t>(layout.numel) * c10::elementSize(layout.dtype);
  auto* node = all.node();
  if (lifetimes.parameters == Hold::shared) {
    const bool owns = node->rank() == 0;
    const auto window = on_all_hosts(
        all, when_short, [&](NodeGroup& ranks_of_node, WhenShort short_of) { return ranks_of_node.allocate(owns ? bytes : 0, short_of); });
    if (!window) return nullptr;
    memory->parameters = tensor_on(window, 0, layout.numel, layout.dtype);
    if (owns) meter.add(MemoryKind::parameters, static_cast<int64_t>(bytes));
  } else if (lifetimes.parameters == Hold::sharded) {
    if (lifetimes.gathers_once) {
      memory->gathered =
          FlatBuffer(layout.numel, compute, MemoryKind::parameters, pools.passing, thing, node->rank() == 0 ? &pools.shared : nullptr);
    } else {
      memory->gathered = FlatBuffer(layout.numel, compute, device, MemoryKind::parameters, pools.own);
    }
    memory->parameters = memory->gathered.tensor();
    const int64_t part = layout.numel / ranks.shard->size();
    memory->shard = shard_on_host && !device.is_cpu() ? at::zeros({part}, at::TensorOptions(layout.dtype))
                                                      : for_collectives(part, layout.dtype, *ranks.shard);
    meter.add(MemoryKind::parameters, static_cast<int64_t>(memory->shard.nbytes()));
  } else {
    // What is updated in parts is gathered from them.
    memory->parameters = lifetimes.optimizer == Hold::sharded ? for_collectives(layout.numel, layout.dtype, *ranks.shard)
                                                              : at::zeros({layout.numel}, at::TensorOptions(layout.dtype).device(device));
    meter.add(MemoryKind::parameters, static_cast<int64_t>(bytes));
  }
  if (!layout.trained) return memory;
  if (lifetimes.gradients == Hold::sharded) {
    memory->unreduced = FlatBuffer(layout.numel, memory->parameters.scalar_type(), device, MemoryKind::gradients, pools.own);
    memory->gradients = memory->unreduced.tensor();
    return memory;
  }
  meter.add(MemoryKind::gradients, static_cast<int64_t>(bytes));
  if (lifetimes.parameters == Hold::shared && on_several_hosts(all)) {
    try {
      memory->gradients = all.allocate(layout.numel, layout.dtype);
    } catch (const IoError&) {  // on all ranks alike
      if (when_short == WhenShort::fail) throw;
      return nullptr;
    }
  } else if (lifetimes.parameters == Hold::shared) {
    const auto window = node->allocate(bytes, when_short);
    if (!window) return nullptr;
    for (int rank = 0; rank < node->size(); rank++) memory->peer_gradients.push_back(tensor_on(window, rank, layout.numel, layout.dtype));
    memory->gradients = memory->peer_gradients[static_cast<size_t>(node->rank())];
  } else {
    memory->gradients = for_collectives(layout.numel, layout.dtype, *ranks.shard);
  }
  return memory;
}

}  // namespace levin
