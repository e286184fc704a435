#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/// The source of a value: a file with line and column (from 1), "command line" or an environment variable (line 0).
struct ConfigSource {
  std::shared_ptr<const std::string> origin;
  int line = 0, column = 0;

  static ConfigSource named(std::string origin) { return {std::make_shared<const std::string>(std::move(origin))}; }
  /// "config.yaml:3:7", "command line", or "" for a value made by a program.
  std::string text() const;
};

struct ConfigEntry;

/// The value of a config file or an option, before it is read into a described struct. The seam between YAML and core: core knows no YAML
/// library, and values are text until a field's own type reads them ("001" stays "001" in a text field).
struct ConfigValue {
  enum class Kind { null, scalar, sequence, map };

  Kind kind = Kind::null;
  std::string text;     ///< of a scalar
  bool quoted = false;  ///< a scalar in quotes is never null
  bool merge = false;   ///< of a map made from a dotted name: keeps the entries it does not name
  std::vector<ConfigValue> items;
  std::vector<ConfigEntry> entries;  ///< in the order written
  ConfigSource source;

  static ConfigValue scalar(std::string text, bool quoted = false);
  static ConfigValue sequence();
  static ConfigValue map();
  /// The value nested in maps, one for each part of a dotted path; the maps merge.
  static ConfigValue at_path(const std::vector<std::string>& path, ConfigValue value);

  /// Null, as YAML has it: nothing, ~, or null without quotes.
  bool is_null() const noexcept;
  /// The entry of this key, or nullptr.
  const ConfigValue* find(std::string_view key) const noexcept;
  void add(std::string key, ConfigValue value, std::string comment = {});
};

struct ConfigEntry {
  std::string key;
  ConfigValue value;
  std::string comment;  ///< for the reader of a written file
  ConfigSource source;  ///< of the key
};

/// YAML text that loads again to the same value, with or without the entries' comments. A value ends with a newline.
std::string to_yaml(const ConfigValue& value, bool comments = false);
/// A scalar, or a sequence or map in one line: "ddp", "[1, 2]", "{name: ddp}".
std::string to_yaml_line(const ConfigValue& value);

/// Every leaf with its dotted path, in order; empty maps and all sequences are leaves. What a comparison of two configs needs.
std::vector<std::pair<std::string, std::string>> flatten(const ConfigValue& value);

}  // namespace levin
