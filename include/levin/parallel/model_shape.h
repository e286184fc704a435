#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace levin {

/// A parameter without its tensor.
struct ParameterInfo {
  std::string name;
  int64_t numel = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  bool trained = true;  ///< requires a gradient
  int unit = 0;         ///< 0 is the root unit
  int group_id = 0;     ///< its parameter group: the set of optimizer options that applies to it
  int optimizer = 0;    ///< index of the optimizer that trains it
  int64_t dim = 2;      ///< number of dimensions
};

/// A unit of a model without its module.
struct UnitShape {
  std::string name;           ///< "blocks.3"; empty for the root unit
  int parent = 0;             ///< the unit around it
  bool checkpointed = false;  ///< its forward is repeated in the backward
  int merged_into = -1;       ///< the unit that its parameters belong to; -1: itself. See ShardingOptions::min_num_params
};

/// A model without its tensors: everything that decides about layout, memory and communication.
struct ModelShape {
  std::vector<ParameterInfo> parameters;  ///< in the model's order
  std::vector<UnitShape> units{{}};       ///< the root first, a unit after the one around it
  std::vector<int> state_tensors{0};      ///< for each optimizer, the number of tensors that it keeps for a parameter
};

}  // namespace levin
