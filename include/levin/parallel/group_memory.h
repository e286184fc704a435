#pragma once
#include <memory>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/parallel/flat_buffer.h"
#include "levin/parallel/form.h"
#include "levin/parallel/layout.h"

namespace levin {

/// Who takes part in the collectives of flat groups.
struct GroupRanks {
  Communicator* all = nullptr;
  Communicator* shard = nullptr;     ///< those among whom one copy of a state that is sharded is cut
  Communicator* replicas = nullptr;  ///< those that hold the same part of other copies; null: there are none
};

at::ScalarType scalar_type_of(TransferDtype dtype);
/// Whether some ranks share no memory because they are on other hosts, while those of one host do.
bool on_several_hosts(Communicator& communicator);
/// Whether a group's reduction starts when its gradients are complete, and goes on during the rest of the backward.
bool reduces_early(Communicator& communicator);

/// Memory for what comes and goes of all groups.
struct BufferPools {
  explicit BufferPools(MemoryMeter& meter) : own(meter), shared(meter) {}
  BufferPool own, shared;                  ///< `shared` has no memory: it counts what `passing` has
  std::shared_ptr<PassingMemory> passing;  ///< of the node's ranks, where parameters are gathered once a node
};
/// Null or IoError, on all ranks, where a node's shared memory has no room.
std::shared_ptr<PassingMemory> allocate_passing(const std::vector<size_t>& bytes, Communicator& communicator, WhenShort when_short);

/// The buffers of a group.
struct GroupMemory {
  Tensor parameters;                   ///< [numel]; where they are sharded those of `gathered`
  Tensor shard;                        ///< where parameters are sharded: this rank's part
  Tensor gradients;                    ///< [numel], this rank's; undefined where nothing is trained; where they are sharded `unreduced`
  std::vector<Tensor> peer_gradients;  ///< every rank's gradients in rank order, where all can be read; else empty
  FlatBuffer gathered, unreduced;      ///< whole parameters and gradients that come and go

  struct Wanted {
    Lifetimes lifetimes;
    at::ScalarType compute;      ///< dtype of gathered parameters and their gradients
    bool shard_on_host = false;  ///< this rank's part of the parameters is in host memory
    size_t thing = 0;            ///< its number in `passing`
  };
  /// Zeroed memory for a group. Collective. Where a node's shared
  /// memory has no room for a form that needs it: null or IoError, on all ranks, as `when_short` says.
  static std::unique_ptr<GroupMemory> allocate(const GroupLayout& layout, const Wanted& wanted, const GroupRanks& ranks, BufferPools& pools,
                                               MemoryMeter& meter, WhenShort when_short);
};

}  // namespace levin
