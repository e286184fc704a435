// Pruned are the elements or slices with the smallest keys.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/log.h"
#include "levin/core/mix_seed.h"
#include "levin/session/session.h"
#include "pruning_masks.h"

namespace levin::detail {
namespace {

// Non-negative integers in the order of absolute values; NaN comes last.
Tensor magnitude_keys(const Tensor& values) {
  const Tensor flat = values.detach().contiguous().view(-1);
  if (flat.scalar_type() == at::kDouble) return flat.abs().view(at::kLong);
  return flat.abs().to(at::kFloat).view(at::kInt).to(at::kLong);
}

uint64_t random_bits(uint64_t seed, int64_t position) { return mix_seed(seed ^ mix_bits(static_cast<uint64_t>(position))); }

// Non-negative integers for the elements at begin … begin + count - 1.
Tensor random_keys(uint64_t seed, int64_t begin, int64_t count, const at::Device& device) {
  Tensor keys = at::empty({count}, at::TensorOptions(at::kLong));
  auto* key = keys.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; i++) key[i] = static_cast<int64_t>(random_bits(seed, begin + i) >> 1);
  return keys.to(device);
}

// For each pool the smallest value, up to `high`, whose count reaches the target. Collective if `count_of` is.
std::vector<int64_t> bisect(std::vector<int64_t> high, const std::vector<int64_t>& targets,
                            const std::function<std::vector<int64_t>(const std::vector<int64_t>&)>& count_of) {
  std::vector<int64_t> low(high.size(), 0);
  while (low != high) {
    std::vector<int64_t> middle;
    for (size_t i = 0; i < low.size(); i++) middle.push_back(low[i] + (high[i] - low[i]) / 2);
    const auto counts = count_of(middle);
    for (size_t i = 0; i < low.size(); i++) {
      if (low[i] == high[i]) continue;
      if (counts[i] >= targets[i])
        high[i] = middle[i];
      else
        low[i] = middle[i] + 1;
    }
  }
  return low;
}

// Keys below the threshold are pruned, and keys equal to it at positions before `end`.
struct KeyCut {
  int64_t threshold, end;

  // The keys of the elements at `begin` and after.
  Tensor pruned(const Tensor& keys, int64_t begin) const {
    const int64_t before_end = std::clamp<int64_t>(end - begin, 0, keys.numel());
    Tensor pruned = keys.lt(threshold);
    pruned.narrow(0, 0, before_end).logical_or_(keys.narrow(0, 0, before_end).eq(threshold));
    return pruned;
  }
};

// The elements left on this rank, in pools whose elements compete.
class ElementPools {
 public:
  ElementPools(Communicator& communicator, size_t pools) : communicator_(communicator), largest_(pools, 0) {}

  void add(size_t pool, const Tensor& keys, const Tensor& positions) {
    if (keys.numel() == 0) return;
    largest_[pool] = std::max(largest_[pool], keys.max().item<int64_t>());
    elements_.push_back({pool, keys, positions});
  }

  // The cut of each pool that prunes this number of its elements, on all ranks; positions are below `numel`. Collective.
  std::vector<KeyCut> cuts(const std::vector<int64_t>& numbers, int64_t numel) const {
    const auto thresholds = bisect(all_max(communicator_, largest_), numbers, [&](const std::vector<int64_t>& bounds) {
      return count_where([&](const Elements& elements) { return elements.keys.le(bounds[elements.pool]); });
    });
    auto ties = count_where([&](const Elements& elements) { return elements.keys.lt(thresholds[elements.pool]); });
    for (size_t i = 0; i < ties.size(); i++) ties[i] = numbers[i] - ties[i];
    const auto ends = bisect(std::vector<int64_t>(ties.size(), numel), ties, [&](const std::vector<int64_t>& bounds) {
      return count_where([&](const Elements& elements) {
        return elements.keys.eq(thresholds[elements.pool]).logical_and_(elements.positions.lt(bounds[elements.pool]));
      });
    });
    std::vector<KeyCut> cuts;
    for (size_t i = 0; i < ties.size(); i++) cuts.push_back({thresholds[i], ends[i]});
    return cuts;
  }

 private:
  struct Elements {
    size_t pool;
    Tensor keys, positions;
  };

  std::vector<int64_t> count_where(const std::function<Tensor(const Elements&)>& condition) const {
    std::vector<int64_t> counts(largest_.size());
    for (const auto& elements : elements_) counts[elements.pool] += condition(elements).sum().item<int64_t>();
    return all_sum(communicator_, std::move(counts));
  }

  Communicator& communicator_;
  std::vector<int64_t> largest_;
  std::vector<Elements> elements_;
};

// `pruned_slices`, and `number` of the slices left, those with the smallest keys.
Tensor with_smallest(const Tensor& pruned_slices, const std::vector<double>& keys, int64_t number) {
  Tensor pruned = pruned_slices.clone();
  auto* is_pruned = pruned.mutable_data_ptr<bool>();
  std::vector<size_t> left;
  for (size_t i = 0; i < keys.size(); i++)
    if (!is_pruned[i]) left.push_back(i);
  std::stable_sort(left.begin(), left.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  left.resize(static_cast<size_t>(number));
  for (const size_t slice : left) is_pruned[slice] = true;
  return pruned;
}

}  // namespace

// Of `left` elements or slices; rounded as Python does.
int64_t PruningMasks::number_to_prune(const Limit& amount, int64_t left, const std::string& name) {
  if (amount.is_fraction()) return static_cast<int64_t>(std::nearbyint(amount.number() * static_cast<double>(left)));
  const auto number = static_cast<int64_t>(amount.number());
  if (number > left && !std::exchange(warned_, true) && session_.rank() == 0)
    session_.runtime().log().warning("[callbacks] {} of {} are to be pruned, and {} are left: no more than those are pruned", number, name,
                                     left);
  return std::min(number, left);
}

std::vector<int64_t> PruningMasks::elements_to_prune(const Limit& amount) {
  auto numbers = elements_left();
  if (config_.use_global_unstructured) numbers = {std::accumulate(numbers.begin(), numbers.end(), int64_t{0})};
  for (size_t i = 0; i < numbers.size(); i++)
    numbers[i] = number_to_prune(amount, numbers[i], numbers.size() == 1 ? "all elements" : "the elements of " + parameters_[i].name);
  return numbers;
}

Tensor PruningMasks::element_keys(const Parameter& parameter, int64_t offset, const Tensor& values, uint64_t seed) const {
  return config_.pruning_fn == PruningMethod::l1_unstructured
             ? magnitude_keys(values)
             : random_keys(seed, parameter.position + offset, values.numel(), values.device());
}

void PruningMasks::prune_elements(const Limit& amount, uint64_t seed) {
  const auto pool_of = [&](const Parameter* parameter) { return config_.use_global_unstructured ? 0 : index_of(parameter); };
  const auto numbers = elements_to_prune(amount);
  ElementPools pools(session_.communicator(), numbers.size());
  for (const auto& [parameter, offset, values, mask] : parts()) {
    const Tensor left = mask.nonzero().view(-1);
    pools.add(pool_of(parameter), element_keys(*parameter, offset, values, seed).index_select(0, left),
              left.add(parameter->position + offset));
  }
  const auto cuts = pools.cuts(numbers, numel());
  const auto slices = session_.parameter_slices();
  for (size_t i = 0; i < shards_.size(); i++) {
    const auto& [parameter, offset, mask, first] = shards_[i];
    if (!parameter) continue;
    const Tensor keys = element_keys(*parameter, offset, slices[i].slice, seed);
    mask.logical_and_(cuts[pool_of(parameter)].pruned(keys, parameter->position + offset).logical_not());
  }
}

// The norms of slices need whole parameters.
void PruningMasks::prune_slices(const Limit& amount, uint64_t seed) {
  std::vector<Tensor> pruned(parameters_.size());
  session_.read_parameters([&](const std::string& name, const Tensor& values) {
    const auto* parameter = find(name);
    if (!parameter) return;
    const auto& slices = parameter->pruned_slices;
    const int64_t left = slices.logical_not().sum().item<int64_t>();
    pruned[index_of(parameter)] =
        with_smallest(slices, slice_keys(*parameter, values, seed), number_to_prune(amount, left, "the slices of " + name));
  });
  for (size_t i = 0; i < parameters_.size(); i++) parameters_[i].pruned_slices = pruned[i];
  for (const auto& shard : shards_)
    if (shard.parameter) mask_slices(shard);
}

std::vector<double> PruningMasks::slice_keys(const Parameter& parameter, const Tensor& values, uint64_t seed) const {
  std::vector<double> keys(static_cast<size_t>(parameter.pruned_slices.numel()));
  if (config_.pruning_fn == PruningMethod::ln_structured) {
    constexpr int64_t columns = 1;
    const Tensor norms = rows_of_slices(parameter, values.detach())
                             .to(at::kDouble)
                             .norm(at::Scalar(*config_.pruning_norm), at::IntArrayRef(columns), /*keepdim=*/false)
                             .cpu();
    std::copy_n(norms.const_data_ptr<double>(), keys.size(), keys.begin());
  } else {
    for (size_t i = 0; i < keys.size(); i++)
      keys[i] = static_cast<double>(random_bits(seed, parameter.position + static_cast<int64_t>(i)) >> 12);
  }
  return keys;
}

// values [numel] -> [slices, elements of each]
Tensor PruningMasks::rows_of_slices(const Parameter& parameter, const Tensor& values) const {
  return values.view(parameter.shape).transpose(0, *config_.pruning_dim).contiguous().view({parameter.pruned_slices.numel(), -1});
}

void PruningMasks::mask_slices(const Shard& shard) const {
  const auto& shape = shard.parameter->shape;
  const auto dim = *config_.pruning_dim;
  const int64_t inner = std::accumulate(shape.begin() + dim + 1, shape.end(), int64_t{1}, std::multiplies<>());
  const Tensor slices = at::arange(shard.offset, shard.offset + shard.mask.numel(), shard.mask.options().dtype(at::kLong))
                            .div_(inner, "floor")
                            .remainder_(shape[static_cast<size_t>(dim)]);
  shard.mask.logical_and_(shard.parameter->pruned_slices.to(shard.mask.device()).index_select(0, slices).logical_not());
}

}  // namespace levin::detail
