#pragma once
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "levin/core/batch.h"

namespace levin {

/// Samples that are read by index, a whole batch at a time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  /// Number of samples.
  virtual int64_t size() const = 0;
  /// Fills `into` with the samples of `indices`, one row each, in their order. Called by several threads at once, each with a batch of
  /// its own. `into` may hold the tensors of an earlier call: ask for memory through reuse_tensor. UsageError for an index outside
  /// [0, size()).
  virtual void get(std::span<const int64_t> indices, Batch& into) const = 0;
  /// What a DataLoader calls: the same, for a data set that draws random numbers. `epoch_seed` depends on the loader's seed and epoch
  /// alone; draw from it and a sample's index, and the sample is the same on any number of ranks. Data sets made of others hand it on.
  virtual void get_for_epoch(std::span<const int64_t> indices, uint64_t /*epoch_seed*/, Batch& into) const { get(indices, into); }
};

/// A contiguous CPU tensor of this shape and dtype under `name` in `into`, its values unset: the one that is there, resized if need be,
/// unless it or a view of it is still referenced elsewhere, else a new one. So a caller who keeps a batch never sees it change.
const Tensor& reuse_tensor(Batch& into, std::string_view name, at::IntArrayRef shape, at::ScalarType dtype);

}  // namespace levin
