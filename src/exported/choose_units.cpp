#include "choose_units.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "unit_patterns.h"

namespace levin::exported {
namespace {

std::vector<std::string> modules_of(const Model& model) {
  auto modules = called_modules(model.train->graph);
  for (auto& path : called_modules(model.eval->graph))
    if (std::find(modules.begin(), modules.end(), path) == modules.end()) modules.push_back(path);
  return modules;
}

// Of the modules that fit, those in no other.
std::vector<std::string> outermost(const std::vector<std::string>& modules, const std::vector<std::string>& patterns) {
  std::vector<std::string> fitting;
  for (const auto& path : modules)
    if (std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return fits_pattern(path, pattern); }))
      fitting.push_back(path);
  std::vector<std::string> units;
  for (const auto& path : fitting)
    if (std::none_of(fitting.begin(), fitting.end(), [&](const auto& other) { return is_inside(path, other); })) units.push_back(path);
  return units;
}

void check_patterns(const std::vector<std::string>& modules, const std::vector<std::string>& units,
                    const std::vector<std::string>& patterns) {
  for (const auto& pattern : patterns) {
    const auto fits = [&](const std::string& path) { return fits_pattern(path, pattern); };
    const auto first = std::find_if(modules.begin(), modules.end(), fits);
    if (first == modules.end()) {
      const auto nearest = nearest_name(pattern, modules);
      throw ConfigError(
          fmt::format("units: no submodule that the model calls fits {}{}", quote(pattern),
                      nearest.empty() ? "" : "; did you mean " + nearest),
          modules.empty() ? "leave units out"
                          : fmt::format("submodules are {}{}",
                                        joined({modules.begin(), modules.begin() + static_cast<long>(std::min<size_t>(modules.size(), 8))}),
                                        modules.size() > 8 ? ", …" : ""),
          "exported");
    }
    if (std::none_of(units.begin(), units.end(), fits))
      throw ConfigError(fmt::format("units: {} fits {} alone, which is inside another unit", quote(pattern), *first),
                        "name the outer or the inner submodules", "exported");
  }
}

}  // namespace

UnitChoice choose_units(const Model& model, const std::optional<std::vector<std::string>>& patterns) {
  const auto modules = modules_of(model);
  std::vector<std::string> chosen = patterns.value_or(model.description.units);
  if (!patterns && chosen.empty())
    if (auto list = longest_list(model.train->graph); !list.empty()) chosen = {std::move(list)};
  UnitChoice choice;
  choice.units = outermost(modules, chosen);
  if (patterns) check_patterns(modules, choice.units, chosen);
  for (;;) {
    choice.train = cut_into_units(*model.train, model.weights, choice.units);
    choice.eval = cut_into_units(*model.eval, model.weights, choice.units);
    auto problems = choice.train.problems;
    problems.insert(choice.eval.problems.begin(), choice.eval.problems.end());
    if (problems.empty()) return choice;
    for (const auto& [path, problem] : problems) choice.problems.push_back(fmt::format("{} is not a unit: {}", path, problem));
    if (patterns)
      throw ConfigError(fmt::format("units: {}", choice.problems.front()), "name other submodules, or change the model and export it again",
                        "exported");
    std::erase_if(choice.units, [&](const auto& path) { return problems.contains(path); });
  }
}

}  // namespace levin::exported
