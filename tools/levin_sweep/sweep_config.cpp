#include "sweep_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/core/mix_seed.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::sweep {

/// Numbers that random draws.
struct Range {
  double min = 0, max = 0;
  bool log = false, integer = false;
};
LEVIN_CONFIG(Range, (min, "smallest value"), (max, "largest value"), (log, "uniform in the logarithm"), (integer, "whole numbers alone"))

namespace {

constexpr size_t most_configurations = 10'000;
constexpr std::string_view own_options[] = {"run_dir", "run_name", "config", "print_config", "help", "version"};

using Values = std::vector<std::string>;

struct Parameter {
  std::string name;
  Values values;
  std::optional<Range> range = {};
};

[[noreturn]] void fail(const ConfigSource& source, const std::string& path, const std::string& message, const std::string& remedy) {
  throw ConfigError(fmt::format("{}: {}: {}", source.text(), path, message), remedy, "sweep");
}

// A value as an option of a command line has it.
std::string option_text(const ConfigValue& value) {
  return value.kind == ConfigValue::Kind::scalar ? value.text : value.is_null() ? "null" : to_yaml_line(value);
}

void check_name(const std::string& name, const ConfigSource& source, const std::string& path) {
  if (std::find(std::begin(own_options), std::end(own_options), name) != std::end(own_options))
    fail(source, path, fmt::format("{} is set by the sweep or no parameter", name), "put it into program, or leave it out");
}

Range read_range(const ConfigValue& value, const std::string& path) {
  Range range;
  for (const char* bound : {"min", "max"})
    if (!value.find(bound))
      fail(value.source, path, fmt::format("a range without {}", bound), "give {min: A, max: B}, or a list of values");
  read_config(range, value);
  if (!std::isfinite(range.min) || !std::isfinite(range.max) || !(range.min < range.max))
    fail(value.source, path, fmt::format("min is {}, max is {}", range.min, range.max), "give finite numbers, the smaller one as min");
  if (range.log && range.min <= 0) fail(value.source, path, fmt::format("log with min {}", range.min), "give a min above 0");
  if (range.integer && std::ceil(range.min) > std::floor(range.max))
    fail(value.source, path, fmt::format("no whole number lies between {} and {}", range.min, range.max), "give other bounds");
  return range;
}

Parameter read_parameter(const ConfigEntry& entry) {
  const auto path = "parameters." + entry.key;
  check_name(entry.key, entry.source, path);
  Parameter parameter{.name = entry.key, .values = {}};
  if (entry.value.kind == ConfigValue::Kind::map) {
    parameter.range = read_range(entry.value, path);
  } else if (entry.value.kind == ConfigValue::Kind::sequence && !entry.value.items.empty()) {
    std::transform(entry.value.items.begin(), entry.value.items.end(), std::back_inserter(parameter.values), option_text);
    if (std::set<std::string>(parameter.values.begin(), parameter.values.end()).size() < parameter.values.size())
      fail(entry.value.source, path, "a value is given twice", "leave one out");
  } else {
    fail(entry.source, path, "has neither values nor a range", "give a list of values, or {min: A, max: B}");
  }
  return parameter;
}

std::vector<Parameter> read_parameters(const ConfigValue* value, const std::string& file) {
  if (!value || value->kind != ConfigValue::Kind::map || value->entries.empty())
    throw ConfigError(fmt::format("{} has no parameters", file), "give parameters: {OPTION: [VALUE, ...]}", "sweep");
  std::vector<Parameter> parameters;
  std::transform(value->entries.begin(), value->entries.end(), std::back_inserter(parameters), read_parameter);
  return parameters;
}

std::vector<Configuration> make_grid(const std::vector<Parameter>& parameters, const ConfigValue& source) {
  size_t count = 1;
  for (const auto& [name, values, range] : parameters) {
    if (range) fail(source.source, "parameters." + name, "a grid needs values, not a range", "give a list, or method: random");
    count *= values.size();
    if (count > most_configurations)
      fail(source.source, "parameters", fmt::format("more than {} combinations", most_configurations), "sample them with method: random");
  }
  std::vector<Configuration> configurations(count);
  for (size_t i = 0; i < count; i++) {
    size_t rest = i, below = count;  // the last parameter changes fastest
    for (const auto& [name, values, range] : parameters) {
      below /= values.size();
      configurations[i].options.emplace_back(name, values[rest / below]);
      rest %= below;
    }
  }
  return configurations;
}

// Uniform in [0, 1) for a configuration and a parameter: the same on every machine, whatever the number of samples.
double fraction(int64_t seed, size_t sample, const std::string& parameter) {
  uint64_t mixed = mix_seed(static_cast<uint64_t>(seed)) + sample;
  for (const char letter : parameter) mixed = mix_seed(mixed ^ static_cast<unsigned char>(letter));
  return static_cast<double>(mix_seed(mixed) >> 11) * 0x1p-53;
}

std::string draw(const Parameter& parameter, double fraction) {
  if (!parameter.range) return parameter.values[static_cast<size_t>(fraction * static_cast<double>(parameter.values.size()))];
  const auto [min, max, log, integer] = *parameter.range;
  // Each whole number has the part of the range that rounds to it.
  const double from = integer ? std::ceil(min) - (log ? 0 : 0.5) : min, to = integer ? std::floor(max) + (log ? 0 : 0.5) : max;
  const double drawn = log ? from * std::pow(to / from, fraction) : from + (to - from) * fraction;
  if (!integer) return number_text(std::clamp(drawn, min, max));
  return std::to_string(std::llround(std::clamp(drawn, std::ceil(min), std::floor(max))));
}

std::vector<Configuration> make_samples(const SweepConfig& config, const std::vector<Parameter>& parameters) {
  std::vector<Configuration> configurations(static_cast<size_t>(config.samples));
  for (size_t i = 0; i < configurations.size(); i++)
    for (const auto& parameter : parameters)
      configurations[i].options.emplace_back(parameter.name, draw(parameter, fraction(config.seed, i, parameter.name)));
  return configurations;
}

std::vector<Configuration> read_list(const ConfigValue* value, const std::string& file) {
  if (!value || value->kind != ConfigValue::Kind::sequence || value->items.empty())
    throw ConfigError(fmt::format("{} has no configurations", file), "give configurations: [{OPTION: VALUE, ...}, ...]", "sweep");
  std::vector<Configuration> configurations;
  for (const auto& item : value->items) {
    const auto path = fmt::format("configurations[{}]", configurations.size());
    if (item.kind != ConfigValue::Kind::map) fail(item.source, path, "is not a map", "give {OPTION: VALUE, ...}");
    Configuration configuration;
    for (const auto& entry : item.entries) {
      check_name(entry.key, entry.source, path);
      configuration.options.emplace_back(entry.key, option_text(entry.value));
    }
    configurations.push_back(std::move(configuration));
  }
  return configurations;
}

ConfigValue without_space(ConfigValue root) {
  std::erase_if(root.entries, [](const ConfigEntry& entry) { return entry.key == "parameters" || entry.key == "configurations"; });
  return root;
}

}  // namespace

std::string options_text(const Configuration& configuration) {
  std::string text;
  for (const auto& [name, value] : configuration.options) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

Sweep read_sweep(const std::filesystem::path& file) {
  const auto root = load_yaml(file);
  Sweep sweep;
  auto& config = sweep.config;
  read_config(config, without_space(root));
  if (config.program.empty())
    throw ConfigError(fmt::format("{} has no program", file.string()), "give program: [PROGRAM, fit, ...]", "sweep");
  if (config.sweep_dir.empty()) throw ConfigError(fmt::format("{} has no sweep_dir", file.string()), "give a directory", "sweep");
  if (config.samples > static_cast<int64_t>(most_configurations))
    throw ConfigError(fmt::format("{}: samples is {}, the most is {}", file.string(), config.samples, most_configurations), "give fewer",
                      "sweep");
  const bool is_list = config.method == Method::list;
  if (root.find(is_list ? "parameters" : "configurations"))
    throw ConfigError(fmt::format("{}: method {} takes {}", file.string(),
                                  is_list                         ? "list"
                                  : config.method == Method::grid ? "grid"
                                                                  : "random",
                                  is_list ? "configurations, not parameters" : "parameters, not configurations"),
                      "give the other, or another method", "sweep");
  if (is_list) {
    sweep.configurations = read_list(root.find("configurations"), file.string());
  } else {
    const auto parameters = read_parameters(root.find("parameters"), file.string());
    sweep.configurations =
        config.method == Method::grid ? make_grid(parameters, *root.find("parameters")) : make_samples(config, parameters);
  }
  for (size_t i = 0; i < sweep.configurations.size(); i++) sweep.configurations[i].name = fmt::format("{:03}", i);
  return sweep;
}

}  // namespace levin::sweep
