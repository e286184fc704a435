#include "tree_names.h"

#include <fmt/format.h>

#include "levin/core/error.h"

namespace levin::exported {
namespace {

constexpr size_t most_leaves = 100'000, longest_name = 1000;

/// Of the keys of a dict, or of a class that is registered as one; empty for sequences. PyTorch writes them as JSON within the JSON.
std::vector<std::string> keys_of(const JsonPlace& context, size_t count) {
  if (!context.is_text()) return {};
  try {
    const JsonFile file("", "", context.text());
    JsonPlace list(file);
    if (list.is_object())
      if (const auto inner = list.find("dict_context")) list = *inner;
    std::vector<std::string> keys;
    if (list.is_object() || list.is_null() || list.is_text()) return {};
    for (const auto& key : list.items()) keys.push_back(key.is_text() ? key.name() : fmt::format("{}", key.integer()));
    return keys.size() == count ? keys : std::vector<std::string>{};
  } catch (const DataError&) {
    return {};  // a class's own notation: its children get numbers
  }
}

class LeafNames {
 public:
  explicit LeafNames(std::string prefix) : prefix_(std::move(prefix)) {}

  /// The depth of the JSON bounds the recursion.
  void collect(const JsonPlace& tree, const std::string& name) {
    if (names_.size() >= most_leaves || name.size() > longest_name) tree.refuse("has too many leaves, or is nested too deeply");
    if (tree.member("type").is_null()) return names_.push_back(name);
    const auto children = tree.member("children_spec").items();
    const auto keys = keys_of(tree.member("context"), children.size());
    for (size_t i = 0; i < children.size(); i++) {
      const auto key = keys.empty() ? fmt::format("{}", i) : keys[i];
      collect(children[i], name.empty() ? (keys.empty() ? prefix_ + key : key) : fmt::format("{}.{}", name, key));
    }
  }
  std::vector<std::string> take() { return std::move(names_); }

 private:
  std::string prefix_;
  std::vector<std::string> names_;
};

/// [version, spec]
JsonPlace tree_of(const JsonFile& file) {
  constexpr int64_t version = 1;
  const auto parts = JsonPlace(file).items();
  if (parts.size() != 2) JsonPlace(file).refuse("is not a version and a tree");
  parts[0].integer(version, version);
  return parts[1];
}

}  // namespace

std::vector<std::string> leaf_names(const JsonPlace& json, const std::string& prefix) {
  const JsonFile file(json.file().archive, json.file().record + ", treespec", json.text());
  LeafNames names(prefix);
  names.collect(tree_of(file), "");
  return names.take();
}

std::vector<std::string> argument_names(const JsonPlace& json, const std::vector<std::string>& positional) {
  const JsonFile file(json.file().archive, json.file().record + ", treespec", json.text());
  const auto parts = tree_of(file).member("children_spec").items();
  if (parts.size() != 2) tree_of(file).refuse("is not a tuple and a dict of arguments");
  LeafNames names("");
  const auto arguments = parts[0].member("children_spec").items();
  for (size_t i = 0; i < arguments.size(); i++)
    names.collect(arguments[i], i < positional.size() ? positional[i] : fmt::format("argument_{}", i));
  names.collect(parts[1], "");
  return names.take();
}

}  // namespace levin::exported
