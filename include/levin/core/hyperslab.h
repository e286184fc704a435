#pragma once
#include <cstdint>
#include <vector>

namespace levin {

/// A subset of a tensor's elements, as in HDF5 and openPMD: `extent[i]` indices from `offset[i]` in each dimension i. If `flattened`, the
/// slab has one dimension: a range of the tensor's elements in row-major order. Flat groups shard by ranges. Split into boxes, a range can
/// need up to 2 * dimensions - 1 of them; as a range it takes one write, one read and one list of checksums.
///
///     Slabs of a tensor [4, 6]:
///     columns 2 and 3     {{0, 2}, {4, 2}}
///     rows 1 and 2        {{1, 0}, {2, 6}}
///     elements [5, 17)    Hyperslab::range(5, 17)
struct Hyperslab {
  std::vector<int64_t> offset, extent;
  bool flattened = false;

  /// Elements [begin, end) of the flattened tensor.
  static Hyperslab range(int64_t begin, int64_t end) { return {{begin}, {end - begin}, true}; }
  friend bool operator==(const Hyperslab&, const Hyperslab&) = default;
};

}  // namespace levin
