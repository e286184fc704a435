#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "levin/core/config_value.h"

namespace levin {

/// Limits of a config file, which is written by hand: anything larger is a mistake or an attack.
struct YamlLimits {
  size_t file_bytes = 1 << 20;
  size_t depth = 64;
  size_t nodes = 100'000;               ///< aliases expanded
  size_t text_bytes = size_t{8} << 20;  ///< aliases expanded
};

/// One YAML document, without tags. ConfigError, with `origin:line:column`, for what is not valid UTF-8, not valid YAML, above a limit,
/// a key twice in a map, more than one document.
ConfigValue parse_yaml(std::string_view text, const std::string& origin, const YamlLimits& limits = {});

/// A regular file of YAML whose top is a map (or nothing). ConfigError also when it cannot be read.
ConfigValue load_yaml(const std::filesystem::path& file, const YamlLimits& limits = {});

}  // namespace levin
