#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/batch.h"

namespace levin {

/// Sizes that a dimension may have: from min to max; the same number for a size that the export fixed.
struct ExportedDimension {
  int64_t min = 0;
  int64_t max = 0;
  std::string symbol;  ///< dimensions of one symbol have one size in a call; empty: of no symbol alone
  bool fixed() const noexcept { return min == max; }
};

/// A tensor that goes into an exported model or comes out of it.
struct ExportedTensor {
  std::string name;                              ///< of an input: its name in the batch
  at::ScalarType dtype = at::ScalarType::Float;  ///< at the export; floating-point tensors follow the module's dtype
  std::vector<ExportedDimension> shape;
  /// "image [1..4096, 3, 32, 32] float32"
  std::string describe() const;
};

struct ExportedDescription {
  std::vector<ExportedTensor> inputs, outputs;
  std::string loss;                   ///< the output that is the loss; empty: none is
  std::vector<std::string> units;     ///< paths of the submodules that became units, in the order of their first call
  std::vector<std::string> problems;  ///< units of the default patterns that were not cut, each with the reason
};

/// A model that Python exported with torch.export, as a module whose parameters and buffers have Python's names. Its graph `train` runs in
/// training mode, `eval` else; both through LibTorch's dispatcher, with autograd. Random numbers come from the default generators.
///
/// Dtypes: parameters, floating-point buffers, constants, and the dtypes that the graph names follow the module where they are the dtype of
/// the exported parameters. Devices that the graph names are the parameters'.
class ExportedProgram : public torch::nn::Module {
 public:
  using Outputs = std::map<std::string, Tensor, std::less<>>;

  /// Reads an archive. `units` are patterns of submodules' paths, in which `*` is one part (`blocks.*`, `encoder.layer.*`): each that
  /// matches becomes a Unit, made in the open BuildContext. Without a value they are those that the export suggests, else the longest
  /// repeated list of submodules, as far as they can be cut. An empty list: no units. Local.
  /// DataError (65) for a damaged archive; ConfigError (78) for an operator that this LibTorch lacks or that may not run, and for patterns
  /// that match no submodule or one that cannot be cut.
  explicit ExportedProgram(const std::filesystem::path& file, const std::optional<std::vector<std::string>>& units = {});
  ~ExportedProgram() override;

  /// The outputs by name. DataError (65) that names the batch's tensor, its shape and the range where it does not fit the export. An
  /// operator that fails is named with its line in Python: DataError; ConfigError (78) where LibTorch has no kernel for the dtype or
  /// device; IoError (74) where memory is out. Local, but for the units' engine.
  Outputs forward(const Batch& batch) { return forward(batch, is_training()); }
  Outputs forward(const Batch& batch, bool training);

  /// Registers parameters, buffers and submodules in `owner`, too, which so has Python's names without a prefix. Call it in the owner's
  /// constructor; the owner's mode does not reach this module: pass it to forward.
  void register_in(torch::nn::Module& owner);

  const ExportedDescription& description() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin
