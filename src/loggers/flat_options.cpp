#include "flat_options.h"

#include <yaml-cpp/yaml.h>

namespace levin::detail {
namespace {

using FlatOptions = std::vector<std::pair<std::string, FlatOption>>;

FlatOption flat_option(const YAML::Node& node) {
  if (!node.IsScalar()) {
    YAML::Emitter text;
    text << YAML::Flow << node;
    return {text.c_str(), std::string(text.c_str())};
  }
  const auto& text = node.Scalar();
  if (node.Tag() == "!") return {text, text};  // quoted
  if (double number = 0; YAML::convert<double>::decode(node, number)) return {text, number};
  if (text == "true" || text == "false") return {text, text == "true"};
  return {text, text};
}

void flatten(const YAML::Node& node, const std::string& name, FlatOptions& options) {
  if (!node.IsMap()) {
    options.emplace_back(name, flat_option(node));
    return;
  }
  for (const auto& entry : node) flatten(entry.second, name.empty() ? entry.first.Scalar() : name + "." + entry.first.Scalar(), options);
}

}  // namespace

FlatOptions flat_options(const std::string& yaml) {
  FlatOptions options;
  flatten(YAML::Load(yaml), "", options);
  return options;
}

}  // namespace levin::detail
