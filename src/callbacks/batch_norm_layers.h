#pragma once
#include <optional>

#include "levin/core/tensor.h"

namespace torch::nn {
class Module;
}

namespace levin::detail {

/// Whether `module` is a batch normalization: LibTorch's, of any number of dimensions, one of an exported model, or a module that registers
/// the same running statistics.
bool is_batch_norm(const torch::nn::Module& module);

struct RunningStatistics {
  Tensor mean, variance;
  Tensor batches;  ///< their number; undefined where the module does not count them
};

/// Of a batch normalization that tracks them.
std::optional<RunningStatistics> running_statistics(const torch::nn::Module& module);

}  // namespace levin::detail
