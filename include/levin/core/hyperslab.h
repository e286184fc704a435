#pragma once
#include <cstdint>
#include <vector>

namespace levin {

/// The elements of a tensor that a shard has, as in HDF5 and openPMD: in each dimension `extent` of them from `offset` on. A flattened one
/// has a single dimension, whatever the tensor has: a range of its elements in row-major order. Flat groups shard by such ranges. Each is
/// up to 2 * dimensions - 1 boxes; as a range it stays one piece, with one write, one read and one list of checksums.
///
///     of a tensor [4, 6]    columns 2 and 3     {{0, 2}, {4, 2}}
///                           rows 1 and 2        {{1, 0}, {2, 6}}
///                           elements [5, 17)    Hyperslab::range(5, 17)
struct Hyperslab {
  std::vector<int64_t> offset, extent;
  bool flattened = false;

  /// Elements [begin, end) of the flattened tensor.
  static Hyperslab range(int64_t begin, int64_t end) { return {{begin}, {end - begin}, true}; }
  friend bool operator==(const Hyperslab&, const Hyperslab&) = default;
};

}  // namespace levin
