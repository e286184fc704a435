#include "levin/core/config_value.h"

#include <fmt/core.h>

namespace levin {

std::string ConfigSource::text() const {
  if (!origin) return "";
  return line > 0 ? fmt::format("{}:{}:{}", *origin, line, column) : *origin;
}

ConfigValue ConfigValue::scalar(std::string text, bool quoted) {
  ConfigValue value;
  value.kind = Kind::scalar;
  value.text = std::move(text);
  value.quoted = quoted;
  return value;
}

ConfigValue ConfigValue::sequence() {
  ConfigValue value;
  value.kind = Kind::sequence;
  return value;
}

ConfigValue ConfigValue::map() {
  ConfigValue value;
  value.kind = Kind::map;
  return value;
}

ConfigValue ConfigValue::at_path(const std::vector<std::string>& path, ConfigValue value) {
  for (auto part = path.rbegin(); part != path.rend(); ++part) {
    ConfigValue outer = map();
    outer.merge = true;
    outer.source = value.source;
    outer.add(*part, std::move(value));
    value = std::move(outer);
  }
  return value;
}

bool ConfigValue::is_null() const noexcept {
  if (kind == Kind::null) return true;
  return kind == Kind::scalar && !quoted && (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL");
}

const ConfigValue* ConfigValue::find(std::string_view key) const noexcept {
  for (const auto& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

void ConfigValue::add(std::string key, ConfigValue value, std::string comment) {
  ConfigSource source = value.source;
  entries.push_back({std::move(key), std::move(value), std::move(comment), std::move(source)});
}

namespace {

void flatten_into(const ConfigValue& value, const std::string& path, std::vector<std::pair<std::string, std::string>>& leaves) {
  if (value.kind != ConfigValue::Kind::map || value.entries.empty()) {
    leaves.emplace_back(path, to_yaml_line(value));
    return;
  }
  for (const auto& entry : value.entries) flatten_into(entry.value, path.empty() ? entry.key : path + "." + entry.key, leaves);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> flatten(const ConfigValue& value) {
  std::vector<std::pair<std::string, std::string>> leaves;
  flatten_into(value, "", leaves);
  return leaves;
}

}  // namespace levin
