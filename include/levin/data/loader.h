#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/batch.h"

namespace levin {

/// The batches of one rank, epoch by epoch, the same number on all ranks: a rank without samples gets a filler (Batch::filler). Used by
/// one thread.
class Loader {
 public:
  virtual ~Loader() = default;

  /// Goes to the start of an epoch.
  virtual void set_epoch(int64_t epoch) = 0;
  /// The next batch, or null at the end of the epoch. It is valid until the next call; its tensors stay as they are for whoever holds
  /// them longer. Rethrows what reading the data threw.
  virtual Batch* next() = 0;
  /// Batches of an epoch; nothing where only reading tells.
  virtual std::optional<int64_t> length() const = 0;
  /// Whether the batch that next() gave last is the epoch's last.
  virtual bool at_end() const = 0;
  /// Samples of that batch over all ranks.
  virtual int64_t global_samples() const = 0;
};

}  // namespace levin
