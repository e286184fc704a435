#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "slabs.h"

namespace levin::detail {

/// A run of elements that are contiguous in two packed slabs of a tensor: `elements` of them, at position `from` in the first slab and `to`
/// in the second.
struct SlabRun {
  int64_t from = 0, to = 0, elements = 0;
};

/// Iterates over the runs of a box that lies in both slabs, in the order of the first slab.
class SlabRuns {
 public:
  /// Row-major packing of a slab: the element at `index` has position sum(index * strides) - first.
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
  /// Whether the box is a single run.
  bool single() const noexcept { return extent_.empty(); }
  /// Distance between the beginnings of consecutive runs, in elements of the first slab.
  int64_t step() const noexcept { return single() ? run_.elements : from_strides_.back(); }
  /// Position behind the last element, in the first slab.
  int64_t end() const noexcept { return end_; }

 private:
  std::vector<int64_t> extent_, index_, from_strides_, to_strides_;  ///< of the dimensions that a run does not span
  SlabRun run_;
  int64_t end_ = 0;
  bool done_ = false;
};

/// The intersection of two slabs: one SlabRuns per common box, of which a range can have several.
std::vector<SlabRuns> runs_between(const Hyperslab& from, const Hyperslab& to, const Shape& shape);

/// Copies runs from the first slab, whose bytes arrive in order, into `memory`, the second slab.
class RunCopier {
 public:
  RunCopier(SlabRuns runs, uint64_t element_bytes, std::byte* memory)
      : runs_(std::move(runs)), element_bytes_(element_bytes), memory_(memory) {}

  bool done() const noexcept { return runs_.done(); }
  /// Byte position of the next run, and behind the last, in the first slab.
  uint64_t next_begin() const noexcept { return static_cast<uint64_t>(runs_.run().from) * element_bytes_; }
  uint64_t end() const noexcept { return static_cast<uint64_t>(runs_.end()) * element_bytes_; }
  /// Copies from bytes [begin, begin + count) of the first slab.
  void take(uint64_t begin, const std::byte* bytes, uint64_t count);
  /// Copies the remaining runs through `read`, which stores bytes [begin, end) of the first slab at `to`. Long runs, and runs with long
  /// gaps, are read one by one; others in chunks that contain several runs.
  void read_rest(const std::function<void(uint64_t begin, uint64_t end, std::byte* to)>& read);

 private:
  SlabRuns runs_;
  uint64_t element_bytes_;
  std::byte* memory_;
};

}  // namespace levin::detail
