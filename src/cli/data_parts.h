#pragma once
// What the data modules over files share.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "levin/cli/file_data.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::cli {

/// The file, or files, of a part.
template <class Parts, class Part>
const auto& of_part(const Parts& parts, Part part) {
  switch (part) {
    case Part::train: return parts.train;
    case Part::val: return parts.val;
    case Part::test: return parts.test;
    default: return parts.predict;
  }
}

template <class Map>
std::vector<std::string> names_of(const Map& map) {
  std::vector<std::string> names;
  names.reserve(map.size());
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

/// ConfigError for an option of a tensor that is not among `names`.
inline void check_name(const char* option, const std::string& name, const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw ConfigError(fmt::format("data.{} has {}, which is not a tensor of the batch", option, quote(name)),
                      names.empty() ? "name the batch's tensors first" : "name one of: " + joined(names));
}

/// The names of all parts' tensors.
inline std::vector<std::string> names_of_parts(const PartArrays& parts) {
  PartArrays::Files all = parts.train;
  for (const auto* more : {&parts.val, &parts.test, &parts.predict}) all.insert(more->begin(), more->end());
  return names_of(all);
}

/// The tensors of a part's batch, of a config with `batch` and `predict_batch`.
template <class Config, class Part>
const auto& batch_of(const Config& config, Part part) {
  return part == Part::predict && !config.predict_batch.empty() ? config.predict_batch : config.batch;
}

/// Of a config with `batch` and `predict_batch`. ConfigError.
template <class Config>
void check_batch(const Config& config) {
  auto names = names_of(config.batch);
  if (names.empty()) throw ConfigError("data.batch is empty", "name the tensors of a batch, as data: {batch: {x: NAME, y: NAME}}");
  for (const auto& name : names_of(config.predict_batch)) names.push_back(name);
  config.options.check_names(names);
}

}  // namespace levin::cli
