#pragma once
#include <set>
#include <vector>

#include "schema.h"

namespace levin::exported {

/// ConfigError for a program that changes what it may not: parameters, which optimizers alone write; constants and buffers that are not
/// persistent, whose values no checkpoint has. Returns the inputs from the batch that it changes.
std::set<Slot> check_writes(const Program& program, const std::vector<Weight>& weights);

/// The first node that acts as in training, such as a dropout or a batch norm of the batch's statistics; null: none.
const Node* training_node(const Graph& graph);

}  // namespace levin::exported
