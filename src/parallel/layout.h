#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "levin/parallel/model_shape.h"

namespace levin {

/// A half-open range of elements.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const noexcept { return end - begin; }
  bool operator==(const Range&) const = default;
};
/// Empty where they do not overlap.
Range intersect(Range a, Range b);

/// The elements of a flat group that hold one parameter.
struct ParameterRange {
  int parameter = 0;  ///< index into the parameters that the layout was made of
  Range range;
};

/// The elements of one parameter group in a flat group: consecutive, with the same optimizer options.
struct ParameterGroupRange {
  int group_id = 0;  ///< the parameter group's index in ModelDescription::group_options
  Range range;
};

/// One flat buffer. Its parameters have one dtype and one optimizer and are sorted by parameter group. With 4 ranks and 64-byte alignment,
/// fp32 parameters of 20 and 100 elements start at elements 0 and 32; the group has 192 elements, and shard 1 of 4 is [48, 96).
struct GroupLayout {
  c10::ScalarType dtype = c10::ScalarType::Float;
  bool trained = true;
  int unit = 0;
  int optimizer = 0;
  bool matrices = false;                          ///< of a unit, where matrices are separate: those with two dimensions or more
  int64_t numel = 0;                              ///< padded to ranks x alignment
  std::vector<ParameterRange> parameters;         ///< each starts aligned
  std::vector<ParameterGroupRange> group_ranges;  ///< cover all elements; padding belongs to the range before it

  /// Elements [rank * numel / ranks, (rank + 1) * numel / ranks). `ranks` divides LayoutOptions::ranks, so shards are equal and aligned.
  Range shard(int rank, int ranks) const;
  /// Bytes of the whole buffer in this dtype.
  int64_t bytes(c10::ScalarType as) const { return numel * static_cast<int64_t>(c10::elementSize(as)); }
};

struct LayoutOptions {
  int ranks = 1;
  int64_t alignment_bytes = 64;                   ///< of each parameter's first byte and each shard's, in bytes
  int64_t first_bucket_bytes = int64_t{1} << 20;  ///< size limit in bytes of the root unit's first group, reduced last
  int64_t bucket_bytes = int64_t{25} << 20;       ///< size limit in bytes of the root unit's other groups; a unit's group has none
  bool separate_matrices = false;                 ///< a unit's parameters with two dimensions or more get a group of their kind
  bool by_unit = false;                           ///< separate groups for each unit; otherwise everything is the root unit's
};

/// Assigns every parameter to exactly one group and range. Guarantees: ranges do not overlap, each starts aligned, a group has one dtype,
/// optimizer and unit, numel is a multiple of ranks x alignment. Depends on its arguments only, so all ranks, and a plan, get the
/// same layout.
std::vector<GroupLayout> make_layout(const std::vector<ParameterInfo>& parameters, const LayoutOptions& options);

}  // namespace levin
