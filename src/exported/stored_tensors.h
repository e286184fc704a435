#pragma once
#include <string>
#include <vector>

#include "archive.h"
#include "json_tree.h"
#include "schema.h"

namespace levin::exported {

/// The tensors that a configuration such as "data/weights/train_weights_config.json" lists, in its order, each with its place in an entry
/// of `folder`. DataError where a tensor does not lie within its entry, or the entry is missing; ConfigError for tensors that were pickled.
/// Where `stored` is false the entries are not compared: the tensors are another graph's.
std::vector<Weight> read_stored_tensors(const Archive& archive, const std::string& config, const std::string& folder, bool stored = true);

/// The tensors of a safetensors file that is an entry of the archive, in the order of their places.
std::vector<Weight> read_safetensors(const Archive& archive, const std::string& record);

/// Bytes from the first to behind the last element. Nothing beyond 2^60; 0 without elements.
std::optional<uint64_t> bytes_in_memory(const Weight& weight);

/// Gives names of one place to one tensor, in the order of the list: the others become aliases. ConfigError where tensors overlap in part,
/// for a change of one would have to change the other.
std::vector<Weight> merge_tied(std::vector<Weight> weights, const std::string& archive);

/// ConfigError where the tensors would need far more memory than the archive has bytes.
void check_total(const std::vector<Weight>& weights, const Archive& archive);

constexpr uint64_t most_json_bytes = 64 << 20;

}  // namespace levin::exported
