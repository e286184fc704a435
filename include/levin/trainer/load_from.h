#pragma once
#include <map>
#include <string>
#include <vector>

namespace levin {

class CheckpointReader;
class TensorSource;

/// Weights of another training, or program, for a model that begins anew. Every parameter and buffer must be there, with its shape, and
/// nothing else, but for what is excluded; floating dtypes are converted.
struct InitialWeights {
  const TensorSource* source = nullptr;
  std::map<std::string, std::string> rename = {};  ///< beginnings of the file's names, and the model's in their place: the longest counts
  std::vector<std::string> exclude = {};           ///< patterns of the model's names (`*`, `?`), which stay as they were made
};

/// Where a training goes on, or whose weights are evaluated: a checkpoint that was found whole; null: a model as it was made, or with
/// initial weights. Without `strict` what fits is loaded, and the rest is a warning.
struct LoadFrom {
  const CheckpointReader* checkpoint = nullptr;
  bool strict = true;
  const InitialWeights* init = nullptr;  ///< without a checkpoint
};

}  // namespace levin
