#include "slabs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

// Saturates on overflow: such shapes are refused elsewhere.
int64_t product_of(Shape::const_iterator begin, Shape::const_iterator end) {
  int64_t product = 1;
  for (; begin != end; ++begin)
    if (__builtin_mul_overflow(product, *begin, &product)) return std::numeric_limits<int64_t>::max();
  return product;
}

/// Splits a range into boxes, recursively by dimension: the end of a row, whole rows, the beginning of a row.
class RangeSplitter {
 public:
  explicit RangeSplitter(const Shape& shape) : shape_(shape), offset_(shape.size()), extent_(shape.size(), 1) {}

  // Adds elements [begin, end) of the subtensor at offset_[0 … dimension - 1].
  void add(size_t dimension, int64_t begin, int64_t end) {
    if (begin >= end) return;
    if (dimension == shape_.size()) {
      boxes.push_back({offset_, extent_, false});
      return;
    }
    const int64_t row = product_of(shape_.begin() + static_cast<std::ptrdiff_t>(dimension) + 1, shape_.end());
    int64_t first = begin / row;
    const int64_t last = end / row;
    if (begin % row > 0) {
      add_row(dimension, first, begin % row, std::min(row, end - first * row));
      first++;
    }
    if (first < last) {
      offset_[dimension] = first, extent_[dimension] = last - first;
      for (size_t i = dimension + 1; i < shape_.size(); i++) offset_[i] = 0, extent_[i] = shape_[i];
      boxes.push_back({offset_, extent_, false});
    }
    if (first <= last) add_row(dimension, last, 0, end % row);
  }

  std::vector<Hyperslab> boxes;

 private:
  void add_row(size_t dimension, int64_t index, int64_t begin, int64_t end) {
    offset_[dimension] = index, extent_[dimension] = 1;
    add(dimension + 1, begin, end);
  }

  const Shape& shape_;
  std::vector<int64_t> offset_, extent_;
};

}  // namespace

int64_t elements_of(const Hyperslab& slab) { return product_of(slab.extent.begin(), slab.extent.end()); }

bool fits(const Hyperslab& slab, const Shape& shape) {
  const Shape flat{product_of(shape.begin(), shape.end())};
  const auto& sizes = slab.flattened ? flat : shape;
  if (slab.offset.size() != sizes.size() || slab.extent.size() != sizes.size()) return false;
  for (size_t i = 0; i < sizes.size(); i++)
    if (slab.offset[i] < 0 || slab.extent[i] < 0 || slab.extent[i] > sizes[i] || slab.offset[i] > sizes[i] - slab.extent[i]) return false;
  return true;
}

void check_slab(const std::filesystem::path& path, const TensorEntry& tensor, const Hyperslab& slab) {
  if (!fits(slab, tensor.shape))
    throw DataError(
        fmt::format("{}: {} of {} requested, it has the shape {}", path.string(), text_of(slab), quote(tensor.name), tensor.shape), {},
        "checkpoint");
}

Hyperslab simplified(const Hyperslab& slab, const Shape& shape) {
  if (slab.flattened) return slab;
  // Contiguous means: full extent in the last dimensions, any extent in one, a single index in the dimensions before it.
  size_t partial = shape.size();
  while (partial > 0 && slab.extent[partial - 1] == shape[partial - 1]) partial--;
  const int64_t elements = elements_of(slab);
  if (elements == 0) return Hyperslab::range(0, 0);
  int64_t begin = 0;
  for (size_t i = 0; i < shape.size(); i++) {
    if (i + 1 < partial && slab.extent[i] != 1) return slab;
    begin = begin * shape[i] + slab.offset[i];
  }
  return Hyperslab::range(begin, begin + elements);
}

std::vector<Hyperslab> boxes_of(const Hyperslab& slab, const Shape& shape) {
  if (elements_of(slab) == 0) return {};
  if (!slab.flattened) return {slab};
  RangeSplitter splitter(shape);
  splitter.add(0, slab.offset[0], slab.offset[0] + slab.extent[0]);
  return std::move(splitter.boxes);
}

std::string text_of(const Hyperslab& slab) {
  int64_t end = 0;
  if (slab.flattened && slab.offset.size() == 1 && slab.extent.size() == 1 && !__builtin_add_overflow(slab.offset[0], slab.extent[0], &end))
    return fmt::format("elements [{}, {})", slab.offset[0], end);
  return fmt::format("elements at offset {} with extent {}", slab.offset, slab.extent);
}

// An n-dimensional difference array: each box adds +1 or -1 at its corners (the product over dimensions of +1 at the begin and -1 at the
// end), and the prefix sum at an element is the number of boxes that cover it. The whole tensor is subtracted, so the first corner with a
// nonzero sum, in row-major order, is the first element that is not covered exactly once. No pair of slabs is compared.
std::optional<Miscount> first_miscount(const std::vector<Hyperslab>& slabs, const Shape& shape) {
  using Corner = std::array<int64_t, most_box_dimensions>;
  std::vector<std::pair<Corner, int64_t>> corners;
  const auto add = [&](const Hyperslab& box, int64_t count) {
    for (size_t ends = 0; ends < size_t{1} << shape.size(); ends++) {
      Corner corner{};
      int64_t sign = count;
      for (size_t i = 0; i < shape.size(); i++) {
        const bool at_end = (ends >> i & 1) != 0;
        corner[i] = box.offset[i] + (at_end ? box.extent[i] : 0);
        if (at_end) sign = -sign;
      }
      corners.emplace_back(corner, sign);
    }
  };
  for (const auto& slab : slabs)
    for (const auto& box : boxes_of(slab, shape)) add(box, 1);
  for (const auto& box : boxes_of({Shape(shape.size(), 0), shape, false}, shape)) add(box, -1);
  std::sort(corners.begin(), corners.end());
  for (size_t i = 0; i < corners.size();) {
    const auto& corner = corners[i].first;
    int64_t sum = 0;
    for (; i < corners.size() && corners[i].first == corner; i++) sum += corners[i].second;
    if (sum != 0) return Miscount{{corner.begin(), corner.begin() + static_cast<std::ptrdiff_t>(shape.size())}, sum > 0};
  }
  return std::nullopt;
}

std::optional<RangeBreak> first_break(const std::vector<Hyperslab>& sorted_ranges, int64_t numel) {
  int64_t end = 0;
  for (const auto& range : sorted_ranges) {
    if (range.offset[0] != end) return RangeBreak{end, range.offset[0], range.offset[0] + range.extent[0]};
    end += range.extent[0];
  }
  return end == numel ? std::nullopt : std::optional(RangeBreak{end, numel, numel});
}

std::optional<int64_t> first_miscounted_element(std::vector<Hyperslab> slabs, const Shape& shape) {
  if (std::any_of(slabs.begin(), slabs.end(), [](const auto& slab) { return !slab.flattened; })) {
    const auto miscount = first_miscount(slabs, shape);
    if (!miscount) return std::nullopt;
    int64_t element = 0;
    for (size_t i = 0; i < shape.size(); i++) element = element * shape[i] + miscount->index[i];
    return element;
  }
  std::sort(slabs.begin(), slabs.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  const auto found = first_break(slabs, product_of(shape.begin(), shape.end()));
  return found ? std::optional(found->end) : std::nullopt;
}

}  // namespace levin::detail
