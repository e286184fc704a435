#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

using Shape = std::vector<int64_t>;

/// Limit for boxes that are not contiguous; contiguous boxes are stored as ranges.
constexpr size_t most_box_dimensions = 8;

int64_t elements_of(const Hyperslab& slab);
/// Whether a slab is valid for the shape: the same number of dimensions (flattened: one), not negative, in bounds.
bool fits(const Hyperslab& slab, const Shape& shape);
/// DataError, with `path`, if a requested slab does not fit the tensor.
void check_slab(const std::filesystem::path& path, const TensorEntry& tensor, const Hyperslab& slab);
/// A contiguous box as a range; any other slab unchanged. The slab must fit the shape.
Hyperslab simplified(const Hyperslab& slab, const Shape& shape);
/// The slab as boxes in row-major order, none empty: up to 2 * dimensions - 1 for a range.
std::vector<Hyperslab> boxes_of(const Hyperslab& slab, const Shape& shape);
/// "elements [5, 17)", "elements at offset [0, 2] with extent [4, 2]"
std::string text_of(const Hyperslab& slab);

/// An element that no slab, or more than one, covers.
struct Miscount {
  std::vector<int64_t> index;
  bool several = false;
};

/// The first miscount in row-major order; nullopt if the slabs cover every element once. The slabs must fit the shape, which has at most
/// most_box_dimensions dimensions.
std::optional<Miscount> first_miscount(const std::vector<Hyperslab>& slabs, const Shape& shape);
/// The first gap or overlap of sorted ranges: the ranges before it cover [0, end) once, and the next one is [next_begin, next_end). Both
/// bounds are numel if elements are missing at the end.
struct RangeBreak {
  int64_t end = 0, next_begin = 0, next_end = 0;
};

/// nullopt if the ranges cover [0, numel) once.
std::optional<RangeBreak> first_break(const std::vector<Hyperslab>& sorted_ranges, int64_t numel);
/// The row-major index of the first element that is not covered once. With ranges only, the tensor may have any number of dimensions.
std::optional<int64_t> first_miscounted_element(std::vector<Hyperslab> slabs, const Shape& shape);

}  // namespace levin::detail
