#pragma once
#include <memory>
#include <string>

#include "archive.h"
#include "schema.h"
#include "weight_table.h"

namespace levin::exported {

/// Reads the graph models/NAME.json with its signature and constants, and notes in `weights` what it says of them. `torch` is set to the
/// version of PyTorch that wrote it. DataError for a damaged program; ConfigError for one that Levin cannot train.
std::shared_ptr<const Program> read_program(const Archive& archive, const std::string& name, WeightTable& weights, std::string& torch);

}  // namespace levin::exported
