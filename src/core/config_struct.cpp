#include <algorithm>
#include <set>

#include "levin/core/config_type.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

ConfigLocation ConfigLocation::field(std::string_view name, const Constraints* of_field) const {
  return {path.empty() ? std::string(name) : fmt::format("{}.{}", path, name), of_field, set};
}

ConfigLocation ConfigLocation::item(size_t index) const { return {fmt::format("{}[{}]", path, index), constraints, set}; }

void ConfigLocation::record(const ConfigSource& source) const {
  if (set) set->insert_or_assign(path, source);
}

void ConfigLocation::forget_fields() const {
  if (set) std::erase_if(*set, [this](const auto& entry) { return entry.first.starts_with(path + "."); });
}

void ConfigLocation::fail(const ConfigSource& source, const std::string& message, const std::string& remedy) const {
  std::string where = source.text();
  if (!where.empty() && !path.empty()) where += ": ";
  where += sanitized(path);
  throw ConfigError(where.empty() ? message : fmt::format("{}: {}", where, message), remedy);
}

std::string ConfigType::allowed(const Constraints&) const { return name(); }

StructType::StructType(std::string name, Make make, Validate validate, std::vector<ConfigField> fields)
    : name_(std::move(name)), make_(make), validate_(validate), fields_(std::move(fields)) {
  std::set<std::string> seen;
  for (const auto& key : keys())
    if (!seen.insert(key).second)
      throw UsageError("config", fmt::format("{} has the key {} twice", name_, key), "rename the field, or do not flatten its struct");
}

std::vector<std::string> StructType::keys() const {
  std::vector<std::string> keys;
  for (const auto& field : fields_) {
    if (!field.constraints.flattened) {
      keys.push_back(field.name);
      continue;
    }
    const auto inner = field.type().as_struct()->keys();
    keys.insert(keys.end(), inner.begin(), inner.end());
  }
  return keys;
}

const ConfigField* StructType::find(std::string_view key) const {
  for (const auto& field : fields_) {
    if (!field.constraints.flattened && field.name == key) return &field;
    if (field.constraints.flattened)
      if (const auto* inner = field.type().as_struct()->find(key)) return inner;
  }
  return nullptr;
}

std::string StructType::key_of(const void* object, const void* member, const ConfigType& type) const {
  for (const auto& field : fields_) {
    if (field.in(object) == member && &field.type() == &type) return field.name;
    if (field.constraints.flattened)
      if (auto key = field.type().as_struct()->key_of(field.in(object), member, type); !key.empty()) return key;
  }
  return {};
}

bool StructType::read_entry(void* object, const ConfigEntry& entry, const ConfigLocation& location) const {
  for (const auto& field : fields_) {
    if (field.constraints.flattened) {
      if (field.type().as_struct()->read_entry(field.in(object), entry, location)) return true;
    } else if (field.name == entry.key) {
      field.type().read(field.in(object), entry.value, location.field(field.name, &field.constraints));
      return true;
    }
  }
  return false;
}

void StructType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.is_null()) return;  // a group of which every line is a comment
  if (value.kind != ConfigValue::Kind::map)
    location.fail(value.source, fmt::format("{} is not a group of keys", quote(to_yaml_line(value))),
                  fmt::format("it has: {}", joined(keys())));
  for (const auto& entry : value.entries) {
    if (read_entry(object, entry, location)) continue;
    const auto known = keys();
    const auto nearest = nearest_name(entry.key, known);
    const auto path_of = [&](const std::string& key) { return location.path.empty() ? key : location.path + "." + key; };
    location.field(entry.key.size() <= 80 ? entry.key : quote(entry.key), nullptr)
        .fail(entry.source, "unknown key",
              (nearest.empty() ? "" : fmt::format("did you mean {}? ", path_of(nearest))) +
                  (known.empty() ? "there are no keys here" : fmt::format("known here: {}", joined(known))));
  }
}

void StructType::check(const void* object, const ConfigLocation& location) const {
  for (const auto& field : fields_)
    field.type().check(field.in(object), field.constraints.flattened ? location : location.field(field.name, &field.constraints));
  if (!validate_) return;
  try {
    validate_(object);
  } catch (const ConfigError& error) {
    if (location.path.empty()) throw;
    std::string_view message = error.what();
    message.remove_prefix(std::min(message.size(), error.tag().size() + 3));
    throw ConfigError(fmt::format("{}: {}", location.path, message), "", error.tag());
  }
}

void StructType::make_absolute(void* object, const std::filesystem::path& base) const {
  for (const auto& field : fields_) field.type().make_absolute(field.in(object), base);
}

ConfigValue StructType::write(const void* object) const {
  ConfigValue out = ConfigValue::map();
  for (const auto& field : fields_) {
    const ConfigType& type = field.type();
    ConfigValue value = type.write(field.in(object));
    if (field.constraints.flattened)
      for (auto& entry : value.entries) out.entries.push_back(std::move(entry));
    else
      out.add(field.name, std::move(value),
              type.as_struct() && !type.as_choice()
                  ? field.help
                  : fmt::format("{} ({})", field.help, type.allowed_for(field.in(object), field.constraints)));
  }
  return out;
}

}  // namespace levin
