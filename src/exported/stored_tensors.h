#pragma once
#include <string>
#include <vector>

#include "archive.h"
#include "json_tree.h"
#include "schema.h"

namespace levin::exported {

/// The tensors that a configuration such as "data/weights/train_weights_config.json" lists, in its order, each with its place in an entry
/// of `folder`. DataError if a tensor does not lie within its entry, or the entry is missing; ConfigError for pickled tensors. Without
/// `stored` the entries are not compared: the tensors are another graph's.
std::vector<Weight> read_stored_tensors(const Archive& archive, const std::string& config, const std::string& folder, bool stored = true);

/// The tensors of a safetensors file that is an entry of the archive, in the order of their places.
std::vector<Weight> read_safetensors(const Archive& archive, const std::string& record);

/// Bytes from the first to the end of the last element: 0 without elements, empty beyond 2^60.
std::optional<uint64_t> bytes_in_memory(const Weight& weight);

/// Merges tensors of one place into the first of the list, whose aliases the other names become. ConfigError for tensors that overlap in
/// part: an update of one would change the other.
std::vector<Weight> merge_tied(std::vector<Weight> weights, const std::string& archive);

/// ConfigError if the tensors need far more memory than the archive has bytes.
void check_total(const std::vector<Weight>& weights, const Archive& archive);

constexpr uint64_t most_json_bytes = 64 << 20;

}  // namespace levin::exported
