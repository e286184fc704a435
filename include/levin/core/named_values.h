#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "levin/core/text.h"

namespace levin {

using NamedValues = std::vector<std::pair<std::string, double>>;

/// The value of that name, or null.
inline const double* find_value(const NamedValues& values, std::string_view name) {
  for (const auto& [known, value] : values)
    if (known == name) return &value;
  return nullptr;
}
/// "train_loss, val_loss", for messages.
inline std::string names_of(const NamedValues& values) {
  std::vector<std::string> names;
  for (const auto& [name, value] : values) names.push_back(name);
  return joined(names);
}
inline double* find_value(NamedValues& values, std::string_view name) {
  return const_cast<double*>(find_value(std::as_const(values), name));
}

}  // namespace levin
