#include "command_line.h"

#include <fmt/format.h>

#include <boost/program_options/parsers.hpp>
#include <iostream>
#include <sstream>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/core/version.h"

namespace levin::tools {

namespace po = boost::program_options;

CommandLine read_command_line(const Words& arguments, Program program) {
  program.options.add_options()("help", "this text")("version", "of Levin");
  po::options_description all;
  all.add(program.options).add(program.hidden).add_options()("words", po::value<Words>());
  po::positional_options_description positions;
  positions.add("words", -1);
  CommandLine line;
  try {
    using namespace po::command_line_style;
    po::store(po::command_line_parser(arguments)
                  .options(all)
                  .positional(positions)
                  .style(allow_long | long_allow_next | long_allow_adjacent)
                  .run(),
              line.options);
  } catch (const po::error& error) {
    refuse_command_line(program, sanitized(error.what()));
  }
  if (line.options.count("words")) line.words = line.options["words"].as<Words>();
  if (line.options.count("help")) {
    std::ostringstream text;
    text << program.usage << program.options << program.notes;
    line.answer = text.str();
  } else if (line.options.count("version")) {
    line.answer = fmt::format("{} {}\n", program.name, version);
  }
  return line;
}

void refuse_command_line(const Program& program, const std::string& why) {
  throw ConfigError(why, fmt::format("{} --help lists the options", program.name), program.tag);
}

void print(const std::string& text, const char* tag) {
  std::cout << text;
  if (!std::cout.flush())
    throw IoError("the output cannot be written", "check whether the disk is full, or the reader of the pipe has ended", tag);
}

int exit_code_of(const std::exception& error) noexcept {
  const auto* ours = dynamic_cast<const Error*>(&error);
  return static_cast<int>(ours ? ours->exit_code() : ExitCode::internal);
}

int report_error(const std::exception& error) {
  std::cerr << error.what() << "\n";
  return exit_code_of(error);
}

}  // namespace levin::tools
