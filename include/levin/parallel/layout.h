#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace levin {

/// A half-open range of elements.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const noexcept { return end - begin; }
  bool operator==(const Range&) const = default;
};
Range intersect(Range a, Range b);

/// What the layout needs to know of a parameter.
struct ParameterInfo {
  std::string name;
  int64_t numel = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  bool trained = true;  ///< requires a gradient
  int unit = 0;         ///< 0 is the root unit
  int options = 0;      ///< which set of optimizer options
  int optimizer = 0;    ///< which optimizer trains it
};

/// One parameter's place in its group's buffer.
struct Placement {
  int parameter = 0;  ///< index into the parameters that the layout was made of
  Range range;
};

/// Elements with one set of optimizer options.
struct Segment {
  int options = 0;
  Range range;
};

/// One flat buffer: parameters of one dtype and one optimizer, sorted by optimizer options, each aligned; the whole padded to ranks *
/// alignment.
struct GroupLayout {
  c10::ScalarType dtype = c10::ScalarType::Float;
  bool trained = true;
  int unit = 0;
  int optimizer = 0;
  int64_t numel = 0;  ///< padded
  std::vector<Placement> placements;
  std::vector<Segment> segments;

  /// The part of a shard: near-equal, aligned parts, which together are the whole.
  Range shard(int rank, int ranks) const;
};

struct LayoutOptions {
  int ranks = 1;
  int64_t alignment_bytes = 64;
  int64_t first_bucket_bytes = int64_t{1} << 20;
  int64_t bucket_bytes = int64_t{25} << 20;
  bool by_unit = false;  ///< each unit in groups of its own; else units are joined up to the bucket size
};

/// Sizes and ranks to offsets; pure arithmetic, so a plan needs no MPI and no memory.
std::vector<GroupLayout> make_layout(const std::vector<ParameterInfo>& parameters, const LayoutOptions& options);

}  // namespace levin
