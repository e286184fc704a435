#pragma once
#include <cstdint>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin {
class Communicator;
}

namespace levin::detail {

/// Assignment of ranks to the files of a checkpoint.
struct FileGroups {
  std::vector<int> first_ranks{0};  ///< by file: its lowest rank, which creates it
  size_t file = 0;                  ///< index of this rank's file

  size_t count() const noexcept { return first_ranks.size(); }
  bool makes_file(int rank) const noexcept { return first_ranks[file] == rank; }
};

/// One file per `nodes_per_file` nodes, in the order of their first ranks, or per `ranks_per_file` ranks; both 0: one file. Collective;
/// null communicator: a single rank. UsageError, on all ranks, for invalid numbers.
FileGroups make_file_groups(Communicator* communicator, int64_t nodes_per_file, int64_t ranks_per_file);

/// Elements of a tensor, given by index: those in one data set of a file, or those in a rank's memory. A box that is contiguous in the
/// tensor is stored as a range.
struct Region {
  int64_t tensor = 0;
  Hyperslab slab;

  bool is_whole(const TensorEntry& entry) const;
  /// Orders by tensor, then ranges before boxes, then by offset.
  friend bool operator<(const Region& a, const Region& b);
};

/// Sorts regions, merges adjacent and overlapping ranges, and removes duplicate boxes.
std::vector<Region> merged(std::vector<Region> regions);

/// The data sets of these regions: a whole tensor has its name and shape, a part the name of the part and its extent.
std::vector<TensorEntry> entries_of(const std::vector<Region>& regions, const std::vector<TensorEntry>& tensors);

/// Packs a region into numbers for an exchange, and unpacks the region at `position`, which then points behind it.
void append(std::vector<int64_t>& numbers, const Region& region);
Region take_region(const std::vector<int64_t>& numbers, size_t& position);

}  // namespace levin::detail
