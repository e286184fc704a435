#include "levin/optim/optimizer_spec.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

OptimizerSpec custom(OptimizerFactory factory) {
  OptimizerSpec spec = SGD{};
  spec.factory = std::move(factory);
  return spec;
}

bool matches(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      p++, n++;
    } else if (star != std::string::npos) {
      p = star + 1, n = ++resume;  // the last star takes one character more
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

std::vector<std::string> optimizer_names(const std::vector<OptimizerSpec>& specs) {
  std::vector<std::string> names;
  const auto taken = [&](const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  for (const auto& spec : specs) {
    std::string name = spec.name;
    if (!name.empty() && taken(name))
      throw UsageError("optim", fmt::format("two optimizers have the name \"{}\"", name), "give each OptimizerSpec a unique name");
    if (name.empty()) {
      const std::string kind =
          spec.factory ? "custom"
                       : std::visit([]<class T>(const T&) { return levin_choice_names(std::type_identity<T>{})[0]; }, spec.optimizer);
      name = kind;
      for (int i = 1; taken(name); i++) name = fmt::format("{}-{}", kind, i);
    }
    names.push_back(name);
  }
  return names;
}

size_t optimizer_of(const std::vector<OptimizerSpec>& specs, const std::string& parameter_name) {
  std::vector<size_t> found;
  for (size_t i = 0; i < specs.size(); i++) {
    const auto& patterns = specs[i].parameters;
    if (patterns.empty() ||
        std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return matches(pattern, parameter_name); }))
      found.push_back(i);
  }
  if (found.size() == 1) return found.front();
  const auto names = optimizer_names(specs);
  if (found.empty())
    throw UsageError("optim", fmt::format("no optimizer trains \"{}\"; the optimizers are {}", parameter_name, joined(names)),
                     "let a pattern of an OptimizerSpec's parameters match it, or set its requires_grad to false");
  throw UsageError("optim", fmt::format("\"{}\" is trained by \"{}\" and \"{}\"", parameter_name, names[found[0]], names[found[1]]),
                   "let the patterns of only one OptimizerSpec match it");
}

void check_patterns(const std::vector<OptimizerSpec>& specs, const std::vector<std::string>& parameter_names) {
  const auto check = [&](const std::string& pattern, const std::string& owner) {
    if (std::any_of(parameter_names.begin(), parameter_names.end(), [&](const auto& name) { return matches(pattern, name); })) return;
    constexpr size_t most = 8;
    const bool all = parameter_names.size() <= most;
    const std::vector<std::string> first(parameter_names.begin(), all ? parameter_names.end() : parameter_names.begin() + most);
    throw ConfigError(
        fmt::format("{} matches no parameter: \"{}\"", owner, pattern),
        first.empty() ? "the model has no parameters" : fmt::format("match whole names, such as: {}{}", joined(first), all ? "" : ", …"),
        "optim");
  };
  for (const auto& spec : specs) {
    for (const auto& rule : spec.rules) check(rule.pattern, "the pattern of an optimizer rule");
    for (const auto& pattern : spec.parameters) check(pattern, "a pattern of the parameters that an optimizer trains");
  }
}

ParameterGroupOptions options_for(const OptimizerSpec& spec, const std::string& parameter_name) {
  ParameterGroupOptions options{base_lr(spec.optimizer), base_weight_decay(spec.optimizer)};
  for (const auto& rule : spec.rules)
    if (matches(rule.pattern, parameter_name)) {
      options.lr = rule.lr.value_or(options.lr);
      options.weight_decay = rule.weight_decay.value_or(options.weight_decay);
      break;
    }
  return options;
}

}  // namespace levin
