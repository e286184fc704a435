#pragma once
// Splits a command line into options and values by Boost.Program_options. ProgramOptions interprets them.
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config_options.h"

namespace levin::detail {

struct CommandLine {
  std::vector<std::string> subcommands;                     ///< positional words
  std::vector<std::string> config_files;                    ///< in order
  std::vector<std::pair<std::string, std::string>> values;  ///< path and text, in order
  bool version = false, print_config = false;
};

/// ConfigError for an unknown option, or one without its value. --help is handled before.
CommandLine parse_command_line(const std::vector<std::string>& arguments, const std::vector<ConfigOption>& options);

/// Parses the text of an option's value, as YAML if the option takes a compound value and the text begins with [ or {.
ConfigValue value_of_text(const std::string& text, const std::string& path, const std::vector<ConfigOption>& options,
                          const ConfigSource& source);

/// Splits "a.b.c" at the dots.
std::vector<std::string> split_path(const std::string& path);

}  // namespace levin::detail
