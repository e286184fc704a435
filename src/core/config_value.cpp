#include "levin/core/config_value.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

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

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::pair<std::string, std::string>> flatten(const ConfigValue& value) {
  std::vector<std::pair<std::string, std::string>> leaves;
  flatten_into(value, "", leaves);
  return leaves;
}

std::string shown(std::string_view text) {
  constexpr size_t longest = 80;
  std::string out = "\"";
  size_t end = std::min(text.size(), longest);
  // A cut never splits a UTF-8 character.
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  for (char c : text.substr(0, end)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return out + (end < text.size() ? "...\"" : "\"");
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > 200) return "";
  std::string lower(name), best;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  size_t least = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& candidate : known) {
    const size_t distance = edit_distance(lower, candidate);
    if (distance < least && distance < candidate.size()) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace levin
