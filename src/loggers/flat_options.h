#pragma once
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace levin::detail {

/// An option's value: its text as written, and what a YAML reader takes it for.
struct FlatOption {
  std::string text;
  std::variant<std::string, double, bool> value;
};

/// {"trainer.max_epochs", 6}, in the order of the YAML; a list is a text.
std::vector<std::pair<std::string, FlatOption>> flat_options(const std::string& yaml);

}  // namespace levin::detail
