#pragma once
#include <map>
#include <string>
#include <vector>

#include "json_tree.h"
#include "schema.h"
#include "weight_table.h"

namespace levin::exported {

/// Reads the roles of a program's inputs and outputs: tensors of the batch, parameters, buffers, constants.
class SignatureReader {
 public:
  /// `constants`: the tensors that the archive stores for this program alone.
  SignatureReader(Program& program, WeightTable& weights, std::vector<Weight> constants);
  /// Fills inputs, outputs and constants from the member "signature" of a graph module and from its "module_call_graph".
  void read(const JsonPlace& module);

 private:
  Input read_input(const JsonPlace& json, Slot slot);
  Output read_output(const JsonPlace& json, const std::variant<Item, List>& output);
  void name_inputs(const JsonPlace& call);
  void name_outputs(const JsonPlace& call);
  Item read_literal(const JsonPlace& json) const;
  /// DataError unless the graph's value in `slot` has the name at `json`.
  void check_name(const JsonPlace& json, Slot slot) const;
  const TensorMeta& meta_of(Slot slot, const JsonPlace& json) const;
  int stored_buffer(const JsonPlace& name, bool persistent);
  int stored_constant(const JsonPlace& name);
  size_t constant_of(const JsonPlace& name) const;

  Program& program_;
  WeightTable& weights_;
  std::vector<Weight> constants_;
  std::map<std::string, size_t> constant_index_;
};

}  // namespace levin::exported
