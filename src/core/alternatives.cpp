#include "alternatives.h"

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

// EarlyStopping, the class that EarlyStoppingConfig configures, or AdamW, which is a config itself; empty: none.
std::string class_name(const Alternative& alternative) {
  const auto& type = alternative.type->name();
  std::string name = type == "NoOptions" ? "" : unqualified(type);
  if (name.ends_with("Config")) name.resize(name.size() - 6);
  return name;
}

}  // namespace

void check_alternative(const Alternative& alternative, const std::vector<Alternative>& others) {
  for (const auto& name : alternative.names)
    for (const auto& other : others)
      if (std::find(other.names.begin(), other.names.end(), name) != other.names.end())
        throw UsageError("config", fmt::format("two alternatives of a choice have the name {}", name), "give one of them another name");
  if (alternative.type->find("name"))
    throw UsageError("config",
                     fmt::format("{} is an alternative of a choice, so it cannot have a field called name", alternative.type->name()));
}

std::vector<std::string> first_names(const std::vector<Alternative>& alternatives) {
  std::vector<std::string> names;
  names.reserve(alternatives.size());
  for (const auto& alternative : alternatives) names.push_back(alternative.names.front());
  return names;
}

std::vector<std::string> all_names(const Alternative& alternative) {
  auto names = alternative.names;
  if (auto name = class_name(alternative); !name.empty()) names.push_back(std::move(name));
  return names;
}

size_t find_alternative(const std::vector<Alternative>& alternatives, const ConfigValue& value, const ConfigLocation& location) {
  const std::string allowed =
      alternatives.empty() ? "there is nothing to choose from" : "allowed: one of: " + joined(first_names(alternatives));
  if (value.is_null() || value.kind != ConfigValue::Kind::scalar) location.fail(value.source, "has no name", allowed);
  std::vector<std::string> known;
  for (size_t i = 0; i < alternatives.size(); ++i)
    for (const auto& name : alternatives[i].names) {
      if (name == value.text) return i;
      known.push_back(name);
    }
  std::vector<size_t> of_class;
  for (size_t i = 0; i < alternatives.size(); ++i) {
    known.push_back(class_name(alternatives[i]));
    if (!value.text.empty() && known.back() == value.text) of_class.push_back(i);
  }
  if (of_class.size() == 1) return of_class.front();
  const auto nearest = nearest_name(value.text, known);
  location.fail(value.source,
                fmt::format("{} is unknown{}", quote(value.text), nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)),
                allowed);
}

ConfigValue without_name(const ConfigValue& value) {
  ConfigValue fields = value;
  std::erase_if(fields.entries, [](const ConfigEntry& entry) { return entry.key == "name"; });
  return fields;
}

ConfigValue write_alternative(const Alternative& alternative, const void* object, const std::string& comment) {
  if (alternative.type->fields().empty()) return ConfigValue::scalar(alternative.names.front(), true);
  ConfigValue out = ConfigValue::map();
  out.add("name", ConfigValue::scalar(alternative.names.front(), true), comment);
  auto fields = alternative.type->write(object);
  for (auto& entry : fields.entries) out.entries.push_back(std::move(entry));
  return out;
}

}  // namespace levin::detail
