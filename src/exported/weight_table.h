#pragma once
#include <map>
#include <string>
#include <vector>

#include "archive.h"
#include "json_tree.h"
#include "schema.h"

namespace levin::exported {

/// The parameters and buffers of a model, which all its graphs use.
class WeightTable {
 public:
  /// The weights that belong to the graph `main`: raw storages, or data/weights/MAIN.safetensors.
  WeightTable(const Archive& archive, const std::string& main);

  /// The index of a weight that a graph names, or -1.
  int find(const std::string& name) const;
  /// Adds a buffer that the state_dict lacks, and returns its index.
  int add_buffer(Weight buffer);
  /// Records the role that a graph gives a weight: parameter or buffer, with a gradient or without. DataError at `json` if dtype or sizes
  /// differ.
  void bind(int index, InputKind kind, const TensorMeta& meta, const JsonPlace& json);

  /// The weights. DataError for names that are not paths of modules, and for a name of both a weight and a module.
  std::vector<Weight> take(const std::string& archive);

 private:
  std::vector<Weight> weights_;
  std::map<std::string, int> index_;  ///< with aliases
  bool gradients_known_ = true;
};

/// DataError at `json` unless the graph's description of a stored tensor has its dtype and sizes.
void check_same(const Weight& weight, const TensorMeta& meta, const JsonPlace& json);

}  // namespace levin::exported
