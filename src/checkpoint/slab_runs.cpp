#include "slab_runs.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace levin::detail {
namespace {

std::optional<Hyperslab> intersection(const Hyperslab& a, const Hyperslab& b) {
  Hyperslab both = a;
  for (size_t i = 0; i < a.offset.size(); i++) {
    const int64_t begin = std::max(a.offset[i], b.offset[i]), end = std::min(a.offset[i] + a.extent[i], b.offset[i] + b.extent[i]);
    if (begin >= end) return std::nullopt;
    both.offset[i] = begin, both.extent[i] = end - begin;
  }
  return both;
}

}  // namespace

SlabRuns::Packing::Packing(const Hyperslab& slab, const Shape& shape) : strides(shape.size(), 1) {
  const auto& sizes = slab.flattened ? shape : slab.extent;
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  first = slab.flattened ? slab.offset[0] : position(slab.offset);
}

int64_t SlabRuns::Packing::position(const std::vector<int64_t>& index) const {
  int64_t sum = -first;
  for (size_t i = 0; i < index.size(); i++) sum += index[i] * strides[i];
  return sum;
}

SlabRuns::SlabRuns(const Hyperslab& box, const Packing& from, const Packing& to) {
  size_t outer = box.extent.size();
  int64_t elements = 1;
  while (outer > 0 && from.strides[outer - 1] == elements && to.strides[outer - 1] == elements) elements *= box.extent[--outer];
  const auto dimensions = static_cast<std::ptrdiff_t>(outer);
  extent_.assign(box.extent.begin(), box.extent.begin() + dimensions);
  from_strides_.assign(from.strides.begin(), from.strides.begin() + dimensions);
  to_strides_.assign(to.strides.begin(), to.strides.begin() + dimensions);
  index_.resize(outer);
  run_ = {from.position(box.offset), to.position(box.offset), elements};
  end_ = run_.from + elements;
  for (size_t i = 0; i < outer; i++) end_ += (extent_[i] - 1) * from_strides_[i];
}

void SlabRuns::next() {
  for (size_t i = extent_.size(); i-- > 0;) {
    run_.from += from_strides_[i], run_.to += to_strides_[i];
    if (++index_[i] < extent_[i]) return;
    run_.from -= extent_[i] * from_strides_[i], run_.to -= extent_[i] * to_strides_[i];
    index_[i] = 0;
  }
  done_ = true;
}

std::vector<SlabRuns> runs_between(const Hyperslab& from, const Hyperslab& to, const Shape& shape) {
  const SlabRuns::Packing from_packing(from, shape), to_packing(to, shape);
  const auto wanted = boxes_of(to, shape);
  std::vector<SlabRuns> runs;
  for (const auto& box : boxes_of(from, shape))
    for (const auto& other : wanted)
      if (const auto both = intersection(box, other)) runs.emplace_back(*both, from_packing, to_packing);
  return runs;
}

void RunCopier::take(uint64_t begin, const std::byte* bytes, uint64_t count) {
  for (; !runs_.done(); runs_.next()) {
    const uint64_t run_begin = next_begin(), run_end = run_begin + static_cast<uint64_t>(runs_.run().elements) * element_bytes_,
                   from = std::max(begin, run_begin), to = std::min(begin + count, run_end);
    if (from < to)
      std::memcpy(memory_ + static_cast<uint64_t>(runs_.run().to) * element_bytes_ + (from - run_begin), bytes + (from - begin), to - from);
    if (run_end > begin + count) return;
  }
}

void RunCopier::read_rest(const std::function<void(uint64_t begin, uint64_t end, std::byte* to)>& read) {
  constexpr uint64_t chunk_bytes = 128 << 10;
  std::vector<std::byte> chunk;
  for (uint64_t chunk_end = 0; !done();) {
    const uint64_t run_bytes = static_cast<uint64_t>(runs_.run().elements) * element_bytes_;
    if (run_bytes >= chunk_bytes || static_cast<uint64_t>(runs_.step()) * element_bytes_ >= chunk_bytes) {
      read(next_begin(), next_begin() + run_bytes, memory_ + static_cast<uint64_t>(runs_.run().to) * element_bytes_);
      runs_.next();
      continue;
    }
    const uint64_t begin = std::max(chunk_end, next_begin());
    chunk_end = std::min(begin + chunk_bytes, end());
    chunk.resize(chunk_end - begin);
    read(begin, chunk_end, chunk.data());
    take(begin, chunk.data(), chunk.size());
  }
}

}  // namespace levin::detail
