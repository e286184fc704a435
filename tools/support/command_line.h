#pragma once
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <exception>
#include <string>
#include <vector>

namespace levin::tools {

using Words = std::vector<std::string>;

/// How a program of tools/ describes itself.
struct Program {
  const char *name, *tag;                                   ///< "levin-report", and "report" in its messages
  std::string usage;                                        ///< --help prints it before the options
  boost::program_options::options_description options;      ///< --help and --version are added
  boost::program_options::options_description hidden = {};  ///< options that --help does not list
  std::string notes = {};                                   ///< --help prints them after the options
};

/// A program's arguments.
struct CommandLine {
  std::string answer = {};  ///< to --help or --version, which come before all other options: print it, and end
  boost::program_options::variables_map options = {};
  Words words = {};  ///< that belong to no option
};

/// Parses words and long options, which are --NAME VALUE or --NAME=VALUE. ConfigError for anything else.
CommandLine read_command_line(const Words& arguments, Program program);

/// Throws a ConfigError that refers to --help.
[[noreturn]] void refuse_command_line(const Program& program, const std::string& why);

/// IoError if the output cannot be written.
void print(const std::string& text, const char* tag);

/// What main returns after an exception.
int exit_code_of(const std::exception& error) noexcept;
/// The same, and prints its message.
int report_error(const std::exception& error);

}  // namespace levin::tools
