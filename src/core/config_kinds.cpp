#include "levin/core/config_kinds.h"

#include <cmath>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

constexpr size_t longest_key = 200;
const Constraints no_constraints{};

const Constraints& constraints_of(const ConfigLocation& location) { return location.constraints ? *location.constraints : no_constraints; }

[[noreturn]] void fail_as(const ConfigType& type, const ConfigValue& value, const ConfigLocation& location) {
  const auto allowed = type.allowed(constraints_of(location));
  if (value.is_null()) location.fail(value.source, "has no value", "allowed: " + allowed);
  location.fail(value.source,
                fmt::format("{} is not allowed", quote(value.kind == ConfigValue::Kind::scalar ? value.text : to_yaml_line(value))),
                "allowed: " + allowed);
}

std::string range_text(const Constraints& constraints) {
  const auto side = [](const char* inclusive, const char* exclusive, const Bound& bound) {
    return (bound.itself_allowed ? inclusive : exclusive) + bound.text;
  };
  if (constraints.least && constraints.most && constraints.least->itself_allowed && constraints.most->itself_allowed)
    return fmt::format("{} to {}", constraints.least->text, constraints.most->text);
  std::string text = constraints.least ? side("at least ", "greater than ", *constraints.least) : "";
  if (constraints.most) text += (text.empty() ? "" : ", ") + side("at most ", "less than ", *constraints.most);
  return text;
}

}  // namespace

std::string ScalarType::allowed(const Constraints& constraints) const {
  std::string text = constraints.one_of.empty() ? name() : fmt::format("one of: {}", joined(constraints.one_of));
  if (const auto range = range_text(constraints); !range.empty()) text += ", " + range;
  return text;
}

std::string ScalarType::complaint(const void* object, const Constraints& constraints) const {
  if (const auto value = number(object)) {
    if (!std::isfinite(*value) && !constraints.infinite_allowed) return "is not finite";
    if (const auto& least = constraints.least; least && !(least->itself_allowed ? *value >= least->number : *value > least->number))
      return "is too small";
    if (const auto& most = constraints.most; most && !(most->itself_allowed ? *value <= most->number : *value < most->number))
      return "is too large";
  } else if (!constraints.one_of.empty()) {
    const auto text = to_text(object);
    for (const auto& name : constraints.one_of)
      if (name == text) return "";
    const auto nearest = nearest_name(text, constraints.one_of);
    return "is unknown" + (nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest));
  }
  return "";
}

void ScalarType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.is_null() || value.kind != ConfigValue::Kind::scalar) fail_as(*this, value, location);
  if (value.text.find('\0') != std::string::npos) location.fail(value.source, "the text holds a NUL character");
  const auto& constraints = constraints_of(location);
  const auto scratch = make();  // so that a refused value leaves the object as it was
  if (!from_text(scratch.get(), value.text)) {
    const auto nearest = nearest_name(value.text, names());
    location.fail(value.source,
                  fmt::format("{} is not allowed{}", quote(value.text), nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)),
                  "allowed: " + allowed(constraints));
  }
  if (const auto wrong = complaint(scratch.get(), constraints); !wrong.empty())
    location.fail(value.source, fmt::format("{} {}", quote(value.text), wrong), "allowed: " + allowed(constraints));
  from_text(object, value.text);
  location.record(value.source);
}

void ScalarType::check(const void* object, const ConfigLocation& location) const {
  const auto& constraints = constraints_of(location);
  if (const auto wrong = complaint(object, constraints); !wrong.empty())
    location.fail({}, fmt::format("{} {}", quote(to_text(object)), wrong), "allowed: " + allowed(constraints));
}

ConfigValue ScalarType::write(const void* object) const { return ConfigValue::scalar(to_text(object), is_text()); }

void OptionalType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.is_null()) {
    reset(object);
    location.record(value.source);
    return;
  }
  if (void* held = const_cast<void*>(inside(object))) {
    inner().read(held, value, location);
    return;
  }
  const auto& choice = as_choice();
  if (choice && value.kind == ConfigValue::Kind::map && !value.find("name"))
    location.fail(value.source, "no alternative is chosen, so its fields cannot be set", "add its name: " + choice->name());
  try {
    inner().read(emplace(object), value, location);
  } catch (...) {
    reset(object);
    throw;
  }
}

void OptionalType::check(const void* object, const ConfigLocation& location) const {
  if (const void* held = inside(object)) inner().check(held, location);
}

ConfigValue OptionalType::write(const void* object) const {
  const void* held = inside(object);
  return held ? inner().write(held) : ConfigValue();
}

void OptionalType::make_absolute(void* object, const std::filesystem::path& base) const {
  if (const void* held = inside(object)) inner().make_absolute(const_cast<void*>(held), base);
}

void SequenceType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.kind != ConfigValue::Kind::sequence) fail_as(*this, value, location);
  std::vector<std::shared_ptr<void>> items;
  ConfigLocation unrecorded = location;
  unrecorded.set = nullptr;
  for (const auto& given : value.items) {
    items.push_back(item().make());
    item().read(items.back().get(), given, unrecorded.item(items.size() - 1));
  }
  clear(object);
  for (auto& read : items) append(object, std::move(read));
  location.record(value.source);
}

void SequenceType::check(const void* object, const ConfigLocation& location) const {
  for (size_t i = 0; i < size(object); ++i) item().check(get(object, i).get(), location.item(i));
}

ConfigValue SequenceType::write(const void* object) const {
  ConfigValue out = ConfigValue::sequence();
  for (size_t i = 0; i < size(object); ++i) out.items.push_back(item().write(get(object, i).get()));
  return out;
}

void SequenceType::make_absolute(void* object, const std::filesystem::path& base) const {
  std::vector<std::shared_ptr<void>> items;
  for (size_t i = 0; i < size(object); ++i) item().make_absolute(items.emplace_back(get(object, i)).get(), base);
  clear(object);
  for (auto& changed : items) append(object, std::move(changed));
}

void MapType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.kind != ConfigValue::Kind::map) fail_as(*this, value, location);
  if (!value.merge) clear(object);
  for (const auto& entry : value.entries) {
    const auto entry_location = location.field(entry.key, location.constraints);
    if (entry.key.size() > longest_key || entry.key.find('\0') != std::string::npos)
      location.fail(entry.source, fmt::format("{} is not a key", quote(entry.key)),
                    fmt::format("allowed: up to {} characters, no NUL", longest_key));
    item().read(at(object, entry.key), entry.value, entry_location);
  }
  location.record(value.source);
}

void MapType::check(const void* object, const ConfigLocation& location) const {
  for (const auto& [key, entry] : entries(object)) item().check(entry, location.field(key, location.constraints));
}

ConfigValue MapType::write(const void* object) const {
  ConfigValue out = ConfigValue::map();
  for (const auto& [key, entry] : entries(object)) out.add(key, item().write(entry));
  return out;
}

void MapType::make_absolute(void* object, const std::filesystem::path& base) const {
  for (const auto& [key, entry] : entries(object)) item().make_absolute(const_cast<void*>(entry), base);
}

}  // namespace levin
