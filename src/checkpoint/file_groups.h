#pragma once
#include <cstdint>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin {
class Communicator;
}

namespace levin::detail {

/// Which ranks write which of a checkpoint's files.
struct FileGroups {
  std::vector<int> first_ranks{0};  ///< of each file: the lowest of its ranks, which makes it
  size_t mine = 0;                  ///< number of this rank's file

  size_t count() const noexcept { return first_ranks.size(); }
  bool makes_file(int rank) const noexcept { return first_ranks[mine] == rank; }
};

/// One file for so many nodes, in the order of their first ranks, or for so many ranks; 0 and 0: for all. Collective; a null communicator
/// is a rank alone. UsageError, on all ranks, for numbers that cannot be.
FileGroups make_file_groups(Communicator* communicator, int64_t nodes_per_file, int64_t ranks_per_file);

/// Elements of a tensor, by its number: what a file has of it in one data set, or a rank in its memory. A box that is contiguous in the
/// tensor is a range.
struct Region {
  int64_t tensor = 0;
  Hyperslab slab;

  bool is_whole(const TensorEntry& entry) const;
  /// By tensor, ranges before boxes, by where they begin.
  friend bool operator<(const Region& a, const Region& b);
};

/// What regions are together, in order: ranges in as few as can be, also where they overlap, and each box once.
std::vector<Region> united(std::vector<Region> regions);

/// The data sets of these regions: the tensor where it is the whole, else a part, a range with one dimension.
std::vector<TensorEntry> entries_of(const std::vector<Region>& regions, const std::vector<TensorEntry>& tensors);

/// Regions as numbers, to exchange them, and back: takes those of one region, from `at` on.
void append(std::vector<int64_t>& numbers, const Region& region);
Region take_region(const std::vector<int64_t>& numbers, size_t& at);

}  // namespace levin::detail
