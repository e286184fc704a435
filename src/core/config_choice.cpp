#include <set>

#include "levin/core/config_kinds.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

ChoiceType::ChoiceType(std::vector<Alternative> alternatives) : alternatives_(std::move(alternatives)) {
  std::set<std::string> seen;
  for (const auto& alternative : alternatives_) {
    for (const auto& name : alternative.names)
      if (!seen.insert(name).second) throw UsageError("config", fmt::format("two alternatives of a choice are called {}", name));
    if (alternative.type->find("name"))
      throw UsageError("config",
                       fmt::format("{} is an alternative of a choice, so it cannot have a field called name", alternative.type->name()));
  }
}

std::string ChoiceType::name() const {
  std::vector<std::string> names;
  for (const auto& alternative : alternatives_) names.push_back(alternative.names.front());
  return "one of: " + joined(names);
}

void ChoiceType::choose(void* object, const ConfigValue& value, const ConfigPlace& place) const {
  if (value.is_null() || value.kind != ConfigValue::Kind::scalar) place.fail(value.source, "has no name", "allowed: " + name());
  std::vector<std::string> known;
  for (size_t i = 0; i < alternatives_.size(); ++i)
    for (const auto& alternative_name : alternatives_[i].names) {
      known.push_back(alternative_name);
      if (alternative_name != value.text) continue;
      if (index(object) != i) emplace(object, i);  // the same one keeps its fields
      place.record(value.source);
      return;
    }
  const auto nearest = nearest_name(value.text, known);
  place.fail(value.source,
             fmt::format("{} is not known{}", shown(value.text), nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)),
             "allowed: " + name());
}

void ChoiceType::read(void* object, const ConfigValue& value, const ConfigPlace& place) const {
  if (value.kind != ConfigValue::Kind::map) return choose(object, value, place);
  if (const auto* given = value.find("name")) choose(object, *given, place.field("name", nullptr));
  ConfigValue fields = value;
  std::erase_if(fields.entries, [](const ConfigEntry& entry) { return entry.key == "name"; });
  try {
    alternatives_[index(object)].type->read(const_cast<void*>(chosen(object)), fields, place);
  } catch (const ConfigError& error) {
    if (value.find("name")) throw;
    std::string_view what = error.what();
    what.remove_prefix(std::min(what.size(), error.tag().size() + 3));
    throw ConfigError(fmt::format("{} (chosen: {})", what, alternatives_[index(object)].names.front()), "", error.tag());
  }
}

void ChoiceType::check(const void* object, const ConfigPlace& place) const {
  alternatives_[index(object)].type->check(chosen(object), place);
}

ConfigValue ChoiceType::write(const void* object) const {
  const auto& alternative = alternatives_[index(object)];
  if (alternative.type->fields().empty()) return ConfigValue::scalar(alternative.names.front(), true);
  ConfigValue out = ConfigValue::map();
  out.add("name", ConfigValue::scalar(alternative.names.front(), true), name());
  auto fields = alternative.type->write(chosen(object));
  for (auto& entry : fields.entries) out.entries.push_back(std::move(entry));
  return out;
}

}  // namespace levin
