#pragma once
// The words of a command line, cut by Boost.Program_options; what they mean is the business of ProgramOptions.
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config_options.h"

namespace levin::detail {

struct CommandLine {
  std::vector<std::string> subcommands;                     ///< words that are no option
  std::vector<std::string> config_files;                    ///< in order
  std::vector<std::pair<std::string, std::string>> values;  ///< path and text, in order
  bool help = false, version = false, print_config = false;
  std::string help_group;
};

/// ConfigError for an option that does not exist, or one without its value.
CommandLine parse_command_line(const std::vector<std::string>& arguments, const std::vector<ConfigOption>& options,
                               const std::vector<std::string>& groups);

/// The text that a user wrote as the value of an option: YAML when the option takes more than a word and it begins with [ or {.
ConfigValue value_of_text(const std::string& text, const std::string& path, const std::vector<ConfigOption>& options,
                          const ConfigSource& source);

/// "a.b.c" in parts.
std::vector<std::string> split_path(const std::string& path);

}  // namespace levin::detail
