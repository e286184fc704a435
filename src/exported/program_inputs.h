#pragma once
#include <set>
#include <vector>

#include "levin/core/batch.h"
#include "levin/exported/exported_program.h"
#include "operand.h"
#include "schema.h"

namespace levin::exported {

/// Takes a program's inputs out of a batch.
class ProgramInputs {
 public:
  /// Inputs in `changed`, which the program changes in place, are copied.
  ProgramInputs(const Program& program, const std::set<Slot>& changed);

  const std::vector<ExportedTensor>& description() const noexcept { return inputs_; }
  /// The inputs of the graph that are not bound, in their order. DataError for a tensor that the batch lacks, or whose sizes or kind do not
  /// fit. Narrower integers are converted, and floating-point tensors get the placement's dtype.
  Stack take(const Batch& batch, const Placement& placement) const;

 private:
  struct Source {
    int input = -1;  ///< index of a description; else the literal
    bool copied = false;
    IValue literal = {};
  };
  void check_sizes(const ExportedTensor& input, const std::vector<Size>& sizes, const Tensor& tensor, std::vector<int64_t>& symbols) const;

  std::vector<ExportedTensor> inputs_;
  std::vector<std::vector<Size>> sizes_;
  std::vector<Source> sources_;
  std::vector<Symbol> symbols_;
};

/// The description of an input or output; `meta` may be missing.
ExportedTensor describe_tensor(const std::string& name, const std::optional<TensorMeta>& meta, const std::vector<Symbol>& symbols);

}  // namespace levin::exported
