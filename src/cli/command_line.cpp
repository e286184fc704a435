#include "command_line.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <map>
#include <set>

#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

namespace po = boost::program_options;

const ConfigOption* find_option(const std::vector<ConfigOption>& options, const std::string& path) {
  for (const auto& option : options)
    if (option.path == path) return &option;
  return nullptr;
}

// The map option that contains a path: "model.weights" for "model.weights.cat".
const ConfigOption* find_map(const std::vector<ConfigOption>& options, const std::string& path) {
  for (const auto& option : options)
    if (option.type->is_map() && path.size() > option.path.size() + 1 && path.starts_with(option.path) && path[option.path.size()] == '.')
      return &option;
  return nullptr;
}

po::options_description declare(const std::vector<ConfigOption>& options) {
  po::options_description declared;
  const auto text = [] { return po::value<std::string>(); };
  declared.add_options()("version", po::bool_switch(), "")("print_config", po::bool_switch(), "")("config", text(), "")(
      "subcommand", po::value<std::vector<std::string>>(), "");
  std::set<std::string> any_below;  // Boost refuses a name that matches two patterns
  const auto is_below = [&](const std::string& path) {
    return std::any_of(any_below.begin(), any_below.end(), [&](const auto& map) { return path.starts_with(map); });
  };
  std::set<std::string> names{"version", "print_config", "config", "subcommand"};
  for (const auto& option : options) {
    // Alternatives of a choice may share a field name: they share one option.
    if (names.insert(option.path).second) declared.add_options()(option.path.c_str(), text(), "");
    if (option.type->as_choice() && names.insert(option.path + ".name").second)
      declared.add_options()((option.path + ".name").c_str(), text(), "");
    if (option.type->is_map() && !is_below(option.path)) {
      any_below.insert(option.path + ".");
      declared.add_options()((option.path + ".*").c_str(), text(), "");
    }
  }
  return declared;
}

// Boost supports optional values only as --flag=true; --flag true is handled here.
std::vector<po::option> with_optional_value(std::vector<std::string>& words, const std::vector<ConfigOption>& options) {
  const std::string name = words.front().starts_with("--") ? words.front().substr(2) : "";
  const auto* option = find_option(options, name);
  if (!option || !option->type->is_bool()) return {};
  const auto is_value = [](const std::string& word) {
    return word == "true" || word == "false" || word == "True" || word == "False" || word == "null";
  };
  const size_t used = words.size() > 1 && is_value(words[1]) ? 2 : 1;
  po::option parsed;
  parsed.string_key = name;
  parsed.value = {used == 2 ? words[1] : "true"};
  parsed.original_tokens.assign(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
  return {parsed};
}

[[noreturn]] void fail_unknown(std::string name, const std::vector<ConfigOption>& options) {
  while (name.starts_with('-')) name.erase(0, 1);
  name = name.substr(0, name.find('='));
  std::vector<std::string> known{"help", "version", "print_config", "config"};
  for (const auto& option : options) known.push_back(option.path);
  const auto nearest = nearest_name(name, known);
  throw ConfigError(fmt::format("command line: --{}: unknown option", sanitized(name.substr(0, 80))),
                    nearest.empty() ? "--help lists all" : fmt::format("did you mean --{}? (--help lists all)", nearest));
}

[[noreturn]] void fail_missing(const std::string& name, const std::vector<ConfigOption>& options) {
  const auto* option = find_option(options, name);
  throw ConfigError(fmt::format("command line: --{} has no value", name),
                    option ? fmt::format("allowed: {}", option->allowed) : fmt::format("write --{} VALUE", name));
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments, const std::vector<ConfigOption>& options) {
  for (const auto& word : arguments)
    if (first_bad_byte(word) != std::string::npos)
      throw ConfigError(fmt::format("command line: {} is not valid UTF-8", quote(std::string_view(word).substr(0, first_bad_byte(word)))));
  const auto declared = declare(options);
  po::positional_options_description positions;
  positions.add("subcommand", -1);
  CommandLine line;
  std::map<std::string, std::string> seen;
  try {
    const auto parsed = po::command_line_parser(arguments)
                            .options(declared)
                            .positional(positions)
                            .style(po::command_line_style::allow_long | po::command_line_style::long_allow_next |
                                   po::command_line_style::long_allow_adjacent)
                            .extra_style_parser([&](std::vector<std::string>& rest) { return with_optional_value(rest, options); })
                            .run();
    for (const auto& option : parsed.options) {
      const std::string value = option.value.empty() ? "" : option.value.front();
      std::string path = option.string_key;
      // Boost parses --a --b 2 as a = "--b".
      if (value.starts_with("--") && option.original_tokens.size() == 2) fail_missing(path, options);
      if (path == "subcommand" && option.position_key >= 0)
        line.subcommands.push_back(value);
      else if (path == "version")
        line.version = true;
      else if (path == "print_config")
        line.print_config = true;
      else if (path == "config")
        line.config_files.push_back(value);
      else {
        // --trainer.strategy.name is an alias of --trainer.strategy.
        if (path.ends_with(".name") && !find_option(options, path)) {
          const auto* choice = find_option(options, path.substr(0, path.size() - 5));
          if (choice && choice->type->as_choice()) path.resize(path.size() - 5);
        }
        const auto [before, first] = seen.emplace(path, value);
        if (!first && before->second != value)
          throw ConfigError(fmt::format("command line: --{} is given twice, as {} and as {}", path, quote(before->second), quote(value)),
                            "keep one");
        if (first) line.values.emplace_back(path, value);
      }
    }
  } catch (const po::unknown_option& error) {
    fail_unknown(error.get_option_name(), options);
  } catch (const po::error_with_option_name& error) {
    std::string name = error.get_option_name();
    while (name.starts_with('-')) name.erase(0, 1);
    const auto* option = find_option(options, name);
    throw ConfigError(fmt::format("command line: --{} has no value", name),
                      option ? "allowed: " + option->allowed : "write --" + name + " VALUE");
  } catch (const po::error& error) {
    throw ConfigError(fmt::format("command line: {}", sanitized(error.what())), "--help shows the syntax");
  }
  return line;
}

ConfigValue value_of_text(const std::string& text, const std::string& path, const std::vector<ConfigOption>& options,
                          const ConfigSource& source) {
  bool compound = false;
  for (const auto& option : options) compound |= option.path == path && (option.is_struct || option.type->is_compound());
  compound |= !find_option(options, path) && find_map(options, path);
  if (compound && (text.starts_with('[') || text.starts_with('{'))) {
    // Errors name the option, not a line and column within its text.
    struct Stamp {
      static void all(ConfigValue& value, const ConfigSource& source) {
        value.source = source;
        for (auto& item : value.items) all(item, source);
        for (auto& entry : value.entries) all(entry.value, entry.source = source);
      }
    };
    ConfigValue value = parse_yaml(text, source.text() + ": " + path);
    Stamp::all(value, source);
    return value;
  }
  ConfigValue value = ConfigValue::scalar(text, text.empty());  // --name "" is empty text, not null
  value.source = source;
  return value;
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts{""};
  for (char c : path) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

}  // namespace levin::detail
