#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

using Shape = std::vector<int64_t>;

/// Of a tensor with more dimensions only contiguous boxes are stored.
constexpr size_t most_box_dimensions = 8;

int64_t elements_of(const Hyperslab& slab);
/// The shape's number of dimensions (flattened: one), none negative, and nothing outside of the shape.
bool fits(const Hyperslab& slab, const Shape& shape);
/// DataError, which names `path`, where a slab does not fit the tensor that it is requested of.
void check_slab(const std::filesystem::path& path, const TensorEntry& tensor, const Hyperslab& slab);
/// The slab as a range, if its elements are contiguous in the tensor. The slab fits the shape.
Hyperslab simplified(const Hyperslab& slab, const Shape& shape);
/// In the order of the tensor: of a range up to 2 * dimensions - 1. None is empty.
std::vector<Hyperslab> boxes_of(const Hyperslab& slab, const Shape& shape);
/// "elements [5, 17)", "elements at offset [0, 2] with extent [4, 2]"
std::string text_of(const Hyperslab& slab);

/// An element that no slab covers, or several.
struct Miscount {
  std::vector<int64_t> index;
  bool several = false;
};

/// The first in row-major order; none if the slabs, which fit the shape, cover every element once. The tensor has at most
/// most_box_dimensions.
std::optional<Miscount> first_miscount(const std::vector<Hyperslab>& slabs, const Shape& shape);
/// Where sorted ranges stop to follow one another: all before cover [0, end) once, and the next is [next_begin, next_end). Both are numel
/// where the ranges end too early.
struct RangeBreak {
  int64_t end = 0, next_begin = 0, next_end = 0;
};

/// None if the ranges cover [0, numel) once.
std::optional<RangeBreak> first_break(const std::vector<Hyperslab>& sorted_ranges, int64_t numel);
/// Its number in row-major order. Where all slabs are ranges, the tensor has any number of dimensions.
std::optional<int64_t> first_miscounted_element(std::vector<Hyperslab> slabs, const Shape& shape);

}  // namespace levin::detail
