#include "batch_norm_layers.h"

#include <torch/nn/modules/batchnorm.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace levin::detail {
namespace {

// The modules of an exported model have the names of Python's classes.
constexpr std::array<std::string_view, 4> exported_classes{"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"};

template <class... Classes>
bool is_any_of(const torch::nn::Module& module) {
  return (... || (dynamic_cast<const Classes*>(&module) != nullptr));
}

// Buffers of the same names that no batch changes, or that are not a batch's.
bool is_another_norm(const torch::nn::Module& module) {
  const auto has = [&](std::string_view part) { return module.name().find(part) != std::string::npos; };
  return has("InstanceNorm") || has("FrozenBatchNorm");
}

}  // namespace

bool is_batch_norm(const torch::nn::Module& module) {
  return is_any_of<torch::nn::BatchNorm1dImpl, torch::nn::BatchNorm2dImpl, torch::nn::BatchNorm3dImpl>(module) ||
         std::find(exported_classes.begin(), exported_classes.end(), module.name()) != exported_classes.end() ||
         running_statistics(module).has_value();
}

std::optional<RunningStatistics> running_statistics(const torch::nn::Module& module) {
  const auto buffers = module.named_buffers(/*recurse=*/false);
  const auto buffer = [&](const char* name) {
    const auto* found = buffers.find(name);
    return found ? *found : Tensor();
  };
  const RunningStatistics statistics{buffer("running_mean"), buffer("running_var"), buffer("num_batches_tracked")};
  if (!statistics.mean.defined() || !statistics.variance.defined() || is_another_norm(module)) return std::nullopt;
  return statistics;
}

}  // namespace levin::detail
