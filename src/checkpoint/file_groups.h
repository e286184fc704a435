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

/// Elements [begin, end) of a tensor, by its number: what a file has of it in one data set, or a rank in its memory.
struct Range {
  int64_t tensor = 0, begin = 0, end = 0;
};

/// What ranges are together, in as few as can be, in the order of tensors. Where they overlap, too.
std::vector<Range> united(std::vector<Range> ranges);

/// The data sets of these ranges: the tensor where it is the whole, else a part, which has one dimension.
std::vector<TensorEntry> entries_of(const std::vector<Range>& ranges, const std::vector<TensorEntry>& tensors);

}  // namespace levin::detail
