#include "coverage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "slabs.h"

namespace levin::detail {
namespace {

constexpr const char *no_rank = "no rank provides", *several_ranks = "more than one rank writes";

[[noreturn]] void refuse_coverage(const char* problem, const std::string& elements, const std::string& name) {
  throw UsageError("checkpoint", fmt::format("{} {} of {}", problem, elements, quote(name)));
}

void check_ranges(const std::vector<Hyperslab>& sorted, const TensorEntry& tensor) {
  const auto found = first_break(sorted, tensor.numel());
  if (!found) return;
  const auto [end, next_begin, next_end] = *found;
  if (next_begin > end) refuse_coverage(no_rank, text_of(Hyperslab::range(end, next_begin)), tensor.name);
  refuse_coverage(several_ranks, text_of(Hyperslab::range(next_begin, std::min(end, next_end))), tensor.name);
}

}  // namespace

void add_blocks(Manifest& manifest, std::vector<WrittenBlock> blocks, const std::vector<Region>& regions,
                const std::vector<TensorEntry>& tensors) {
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return std::tie(a.dataset, a.begin) < std::tie(b.dataset, b.begin); });
  std::vector<uint64_t> written(manifest.datasets.size());
  // For messages. A box is named as a whole.
  const auto elements = [&](size_t set, uint64_t begin, uint64_t end) {
    if (set >= regions.size()) return text_of(Hyperslab::range(static_cast<int64_t>(begin), static_cast<int64_t>(end)));
    const auto& [tensor, slab] = regions[set];
    if (!slab.flattened) return text_of(slab);
    const uint64_t element = c10::elementSize(tensors[static_cast<size_t>(tensor)].dtype);
    return text_of(
        Hyperslab::range(slab.offset[0] + static_cast<int64_t>(begin / element), slab.offset[0] + static_cast<int64_t>(end / element)));
  };
  for (const auto& block : blocks) {
    const auto set = static_cast<size_t>(block.dataset);
    const auto& name = manifest.datasets[set].name;
    if (block.begin > written[set]) refuse_coverage(no_rank, elements(set, written[set], block.begin), name);
    if (block.begin < written[set])
      refuse_coverage(several_ranks, elements(set, block.begin, std::min(written[set], block.begin + block.bytes)), name);
    written[set] += block.bytes;
    manifest.datasets[set].blocks.push_back({block.bytes, block.hash});
  }
  for (size_t i = 0; i < written.size(); i++)
    if (const uint64_t bytes = manifest.datasets[i].bytes; written[i] < bytes)
      refuse_coverage(no_rank, elements(i, written[i], bytes), manifest.datasets[i].name);
}

void check_tensors(std::vector<Region> regions, const std::vector<TensorEntry>& tensors) {
  std::sort(regions.begin(), regions.end());
  for (size_t i = 0, next = 0; i < tensors.size(); i++) {
    std::vector<Hyperslab> slabs;
    for (; next < regions.size() && regions[next].tensor == static_cast<int64_t>(i); next++) slabs.push_back(std::move(regions[next].slab));
    if (slabs.empty() || slabs.back().flattened) {  // sorted: boxes are last
      check_ranges(slabs, tensors[i]);
    } else if (const auto miscount = first_miscount(slabs, tensors[i].shape)) {
      refuse_coverage(miscount->several ? several_ranks : no_rank, fmt::format("elements from index {}", miscount->index), tensors[i].name);
    }
  }
}

}  // namespace levin::detail
