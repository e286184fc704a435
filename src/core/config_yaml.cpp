// Writes a ConfigValue as YAML. Reading needs a YAML library and is done in cli; writing does not.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "levin/core/config_value.h"

namespace levin {
namespace {

constexpr size_t columns = 120;

// Words that some YAML reader takes for something else than text.
bool is_reserved_word(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (std::string_view word : {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan"})
    if (lower == word) return true;
  return false;
}

bool is_number(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) || c == '.' || c == 'e' || c == '-' || c == '+';
  });
}

bool is_plain_text(std::string_view text) {
  if (text.empty() || is_reserved_word(text)) return false;
  if (!std::isalpha(static_cast<unsigned char>(text[0])) && text[0] != '_' && text[0] != '/') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.' || c == '/' || c == '+';
  });
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
          out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        else
          out += c;
    }
  }
  return out + "\"";
}

// `quoted` marks text: a number in a text field is quoted, so that every YAML reader sees text.
std::string scalar_text(const ConfigValue& value) {
  if (is_plain_text(value.text)) return value.text;
  if (!value.quoted && (is_number(value.text) || is_reserved_word(value.text))) return value.text;
  return in_quotes(value.text);
}

std::string key_text(const std::string& key) { return is_plain_text(key) ? key : in_quotes(key); }

bool fits_a_line(const ConfigValue& value) {
  if (value.kind == ConfigValue::Kind::map) return value.entries.empty();
  return std::all_of(value.items.begin(), value.items.end(),
                     [](const ConfigValue& item) { return item.kind != ConfigValue::Kind::map && fits_a_line(item); });
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

void put_block(const ConfigValue& value, size_t indent, bool comments, std::string& out);

void put_entry(const ConfigEntry& entry, size_t indent, bool comments, std::string& out) {
  const bool line = fits_a_line(entry.value);
  const std::string text =
      std::string(indent, ' ') + key_text(entry.key) + ":" + (line ? fmt::format(" {}", to_yaml_line(entry.value)) : "");
  if (!comments || entry.comment.empty())
    out += text + "\n";
  else if (text.size() + entry.comment.size() + 4 <= columns)
    out += text + "  # " + one_line(entry.comment) + "\n";
  else
    out += std::string(indent, ' ') + "# " + one_line(entry.comment) + "\n" + text + "\n";
  if (!line) put_block(entry.value, indent + 2, comments, out);
}

void put_block(const ConfigValue& value, size_t indent, bool comments, std::string& out) {
  for (const auto& entry : value.entries) put_entry(entry, indent, comments, out);
  for (const auto& item : value.items) {
    const size_t start = out.size() + indent;
    if (fits_a_line(item))
      out += std::string(indent + 2, ' ') + to_yaml_line(item) + "\n";
    else
      put_block(item, indent + 2, false, out);  // the same comments at every item would only be noise
    out[start] = '-';
  }
}

}  // namespace

std::string to_yaml_line(const ConfigValue& value) {
  std::string out;
  switch (value.kind) {
    case ConfigValue::Kind::null: return "null";
    case ConfigValue::Kind::scalar: return scalar_text(value);
    case ConfigValue::Kind::sequence:
      for (const auto& item : value.items) out += (out.empty() ? "" : ", ") + to_yaml_line(item);
      return fmt::format("[{}]", out);
    case ConfigValue::Kind::map:
      for (const auto& entry : value.entries) out += (out.empty() ? "" : ", ") + key_text(entry.key) + ": " + to_yaml_line(entry.value);
      return fmt::format("{{{}}}", out);
  }
  return out;
}

std::string to_yaml(const ConfigValue& value, bool comments) {
  if (fits_a_line(value)) return to_yaml_line(value) + "\n";
  std::string out;
  put_block(value, 0, comments, out);
  return out;
}

}  // namespace levin
