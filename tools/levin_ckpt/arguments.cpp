#include "arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/program_options/parsers.hpp>
#include <iostream>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::ckpt {

std::optional<Arguments> read_arguments(const Words& words, const std::string& usage, const char* help,
                                        const po::options_description& options) {
  if (std::find(words.begin(), words.end(), "--help") != words.end()) {
    std::cout << "levin-ckpt " << usage << ": " << help << "\n" << options;
    return std::nullopt;
  }
  const auto fail = [&](const std::string& why) { throw ConfigError(why, "levin-ckpt " + usage, "checkpoint"); };
  Arguments arguments;
  try {
    po::options_description all;
    all.add(options).add_options()("words", po::value<Words>());
    po::positional_options_description positions;
    positions.add("words", -1);
    using namespace po::command_line_style;
    po::store(
        po::command_line_parser(words).options(all).positional(positions).style(allow_long | long_allow_next | long_allow_adjacent).run(),
        arguments.options);
    po::notify(arguments.options);
  } catch (const po::error& error) {
    fail(sanitized(error.what()));
  }
  if (arguments.options.count("words")) arguments.words = arguments.options["words"].as<Words>();
  const bool more = usage.ends_with("…");
  const auto needed = static_cast<size_t>(std::count(usage.begin(), usage.end(), ' '));
  if (arguments.words.size() < needed) fail(fmt::format("{} names given, {} needed", arguments.words.size(), needed));
  if (arguments.words.size() > needed && !more) fail(fmt::format("{} is one argument too many", quote(arguments.words[needed])));
  return arguments;
}

std::optional<int64_t> integer_option(const Arguments& arguments, const std::string& name) {
  if (arguments.options.count(name) == 0) return std::nullopt;
  const auto& text = arguments.options[name].as<std::string>();
  const auto number = parse_number<int64_t>(text);
  if (!number) throw ConfigError(fmt::format("--{}: {} is not allowed", name, quote(text)), "allowed: integer", "checkpoint");
  return number;
}

std::string size_text(uint64_t bytes) {
  static constexpr std::array<std::pair<double, const char*>, 3> units{{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}}};
  for (const auto& [size, name] : units)
    if (static_cast<double>(bytes) >= size) return fmt::format("{:.1f} {}", static_cast<double>(bytes) / size, name);
  return fmt::format("{} B", bytes);
}

}  // namespace levin::ckpt
