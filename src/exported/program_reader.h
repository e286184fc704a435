#pragma once
#include <memory>
#include <string>

#include "archive.h"
#include "schema.h"
#include "weight_table.h"

namespace levin::exported {

/// Reads the graph models/NAME.json with its signature and constants, and binds its inputs to `weights`. DataError for a damaged program;
/// ConfigError for one that Levin cannot train.
std::shared_ptr<const Program> read_program(const Archive& archive, const std::string& name, WeightTable& weights);

}  // namespace levin::exported
