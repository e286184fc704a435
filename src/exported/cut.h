#pragma once
#include <map>
#include <string>
#include <vector>

#include "schema.h"

namespace levin::exported {

/// A call of a unit: a range of the program's nodes, as a graph.
struct UnitCall {
  std::string path;            ///< of the submodule
  Graph graph;                 ///< its inputs are those of the call, then `bound`
  std::vector<Slot> bound;     ///< inputs of the program that the call reads: parameters, buffers and constants
  std::vector<Slot> changing;  ///< of these, buffers that a node of the program writes
};

/// A program whose units are calls (unit_target) with tensors and sizes as their inputs and outputs.
struct Cut {
  Graph graph;  ///< its values are the program's
  std::vector<UnitCall> calls;
  std::map<std::string, std::string> problems;  ///< why a submodule cannot be a unit, by its path
};

/// `units`: paths of submodules, none inside another. Only without problems is the result usable.
Cut cut_into_units(const Program& program, const std::vector<Weight>& weights, const std::vector<std::string>& units);

}  // namespace levin::exported
