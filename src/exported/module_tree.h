#pragma once
#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "exported_unit.h"
#include "schema.h"

namespace levin::exported {

/// Builds the modules of Python's names: the parameter "blocks.0.fc.weight" is registered as "weight" in the child "fc" of the child "0" of
/// the child "blocks". A tied one is registered, as one tensor, under all of its names.
class ModuleTree {
 public:
  /// `load` gives a weight's tensor; it is called once for each weight that is registered, and just before a unit that holds it is made.
  using Load = std::function<at::Tensor(const Weight& weight)>;

  /// By path: the names of the modules' classes, for summaries.
  using Classes = std::map<std::string, std::string>;

  /// `units`: paths, none inside another; each becomes an ExportedUnit, in Python's order. DataError for names that LibTorch refuses.
  ModuleTree(torch::nn::Module& root, const std::vector<Weight>& weights, const std::vector<std::string>& units, Classes classes,
             Load load);

  /// By index of the weight; undefined for a buffer that is not persistent.
  const std::vector<at::Tensor>& tensors() const noexcept { return tensors_; }
  /// By path.
  const std::map<std::string, ExportedUnit>& units() const noexcept { return units_; }

 private:
  void add(const std::string& name, size_t weight);
  void add_unit(const std::string& path);
  /// Registers a weight below the module of that path.
  void put(torch::nn::Module& module, const std::string& path, const std::string& name, size_t weight);
  torch::nn::Module& parent_of(torch::nn::Module& module, const std::string& path, const std::string& name) const;
  std::string class_of(const std::string& path) const;
  const at::Tensor& tensor(size_t weight);

  torch::nn::Module& root_;
  const std::vector<Weight>& weights_;
  const std::vector<std::string>& paths_;
  Classes classes_;
  Load load_;
  std::vector<at::Tensor> tensors_;
  std::map<std::string, ExportedUnit> units_;
};

}  // namespace levin::exported
