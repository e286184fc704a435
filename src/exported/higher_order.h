#pragma once
#include <memory>
#include <vector>

#include "graph.h"
#include "size_functions.h"

namespace levin::exported {

class Interpreter;

/// A node that calls graphs.
struct HigherOrder {
  Function function;                      ///< takes the operands, returns what its graph returns
  std::vector<const Argument*> operands;  ///< of the node
  std::vector<std::shared_ptr<Interpreter>> graphs;
};

/// set_grad_enabled, autocast, activation checkpointing and cond; Refused for the others.
HigherOrder compile_higher_order(const Node& node);

}  // namespace levin::exported
