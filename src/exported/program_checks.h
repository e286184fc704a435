#pragma once
#include <set>
#include <vector>

#include "schema.h"

namespace levin::exported {

/// ConfigError for a program that writes a parameter, which optimizers alone do, or a constant or non-persistent buffer, which no
/// checkpoint has. Returns the inputs from the batch that it writes.
std::set<Slot> check_writes(const Program& program, const std::vector<Weight>& weights);

/// The first node that acts as in training, such as a dropout or a batch norm of the batch's statistics; null: none.
const Node* training_node(const Graph& graph);

}  // namespace levin::exported
