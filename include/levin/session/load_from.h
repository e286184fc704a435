#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace levin {

class CheckpointReader;
class TensorSource;

/// Weights of another training, or program, for a new training. Every parameter and buffer must be there, with its shape, and
/// nothing else, but for what is excluded; floating dtypes are converted, those of fp8 (E4M3, E5M2) on request.
struct InitialWeights {
  const TensorSource* source = nullptr;
  std::map<std::string, std::string> rename = {};  ///< beginnings of the file's names, and the model's in their place: the longest counts
  std::vector<std::string> exclude = {};           ///< patterns of the model's names (`*`, `?`), which stay as they were made
  bool convert_fp8 = false;                        ///< value by value, without their scales; the source reads fp8
};

/// Names of tensors that a Trainer reads once, all ranks together: a CheckpointReader for it may compare their checksums then.
inline std::vector<std::string> read_once_by_trainers() { return {"model/", "optimizer/"}; }

/// The checkpoint that a training resumes from, or whose weights are evaluated, verified; null: a model as it was made, or with
/// initial weights. Without `strict` what fits is loaded, and the rest is a warning.
struct LoadFrom {
  const CheckpointReader* checkpoint = nullptr;
  bool strict = true;
  const InitialWeights* init = nullptr;  ///< without a checkpoint
  bool of_this_run = false;              ///< the checkpoint is in a folder of this run, though no callback may write there any more
  bool tested = false;                   ///< a training that is complete was tested, too: test_after_fit does not repeat it
  /// For a checkpoint that turns out to be damaged while its tensors are read: another one, all of which is loaded then; null: the training
  /// ends with the error. Called on all ranks.
  std::function<const CheckpointReader*(const CheckpointReader& damaged, const std::string& why)> instead = {};
};

}  // namespace levin
