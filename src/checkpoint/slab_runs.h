#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "slabs.h"

namespace levin::detail {

/// Elements that follow one another in two packed slabs of a tensor: `elements` of them, from `from` on in the one and `to` in the other.
struct SlabRun {
  int64_t from = 0, to = 0, elements = 0;
};

/// The elements of a box that two slabs have, as runs, in the order of the first.
class SlabRuns {
 public:
  /// Where the elements of a slab are, packed in row-major order: element `index` at the sum of index * stride, less the first.
  struct Packing {
    Packing(const Hyperslab& slab, const Shape& shape);
    int64_t position(const std::vector<int64_t>& index) const;
    std::vector<int64_t> strides;
    int64_t first = 0;
  };

  SlabRuns(const Hyperslab& box, const Packing& from, const Packing& to);

  bool done() const noexcept { return done_; }
  const SlabRun& run() const noexcept { return run_; }
  void next();
  /// Is all one run?
  bool single() const noexcept { return extent_.empty(); }
  /// From the beginning of a run to that of the next, in the first slab.
  int64_t step() const noexcept { return single() ? run_.elements : from_strides_.back(); }
  /// Behind the last element, in the first slab.
  int64_t end() const noexcept { return end_; }

 private:
  std::vector<int64_t> extent_, index_, from_strides_, to_strides_;  ///< of the dimensions outside of a run
  SlabRun run_;
  int64_t end_ = 0;
  bool done_ = false;
};

/// What both slabs have: several boxes where one is a range.
std::vector<SlabRuns> runs_between(const Hyperslab& from, const Hyperslab& to, const Shape& shape);

/// Copies runs into memory, as bytes of the first slab come in order.
class RunCopier {
 public:
  RunCopier(SlabRuns runs, uint64_t element_bytes, std::byte* memory)
      : runs_(std::move(runs)), element_bytes_(element_bytes), memory_(memory) {}

  bool done() const noexcept { return runs_.done(); }
  /// Where the next run begins and all end, in bytes of the first slab.
  uint64_t next_begin() const noexcept { return static_cast<uint64_t>(runs_.run().from) * element_bytes_; }
  uint64_t end() const noexcept { return static_cast<uint64_t>(runs_.end()) * element_bytes_; }
  /// Bytes [begin, begin + count) of the first slab.
  void take(uint64_t begin, const std::byte* bytes, uint64_t count);
  /// Reads the rest by `read`, which leaves bytes [begin, end) of the first slab at `to`: each run alone where runs or the gaps
  /// between them are long, else chunks with several.
  void read_rest(const std::function<void(uint64_t begin, uint64_t end, std::byte* to)>& read);

 private:
  SlabRuns runs_;
  uint64_t element_bytes_;
  std::byte* memory_;
};

}  // namespace levin::detail
