#pragma once
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <boost/program_options/variables_map.hpp>
#include <optional>

#include "levin/checkpoint/checkpoint_state.h"
#include "subcommands.h"

namespace levin::ckpt {

namespace po = boost::program_options;

/// What a subcommand was given: options (--keep 3), and words without one, in order.
struct Arguments {
  po::variables_map options;
  Words words;
};

/// `usage`: "inspect CHECKPOINT", with … at its end where there may be more of the last. Nothing when help was asked for, and given.
/// ConfigError for options that there are not, values that do not fit, and words that are too few or too many.
std::optional<Arguments> read_arguments(const Words& words, const std::string& usage, const char* help,
                                        const po::options_description& options);

/// The integer that an option was given, parsed as Levin's options are; nothing where it was not given. ConfigError for other text.
std::optional<int64_t> integer_option(const Arguments& arguments, const std::string& name);

/// "1.2 MB"
std::string size_text(uint64_t bytes);

}  // namespace levin::ckpt
