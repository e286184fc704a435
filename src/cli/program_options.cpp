#include "levin/cli/program_options.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "command_line.h"
#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

// Variables that are not options. LEVIN_RUN_DIR is also an option if the program has a --run_dir.
constexpr std::array<std::string_view, 6> other_variables{"LEVIN_BUILD", "LEVIN_CACHE",  "LEVIN_RUN_DIR",
                                                          "LEVIN_SITE",  "LEVIN_LAUNCH", "LEVIN_LIBTORCH"};

constexpr size_t longest_argument = 1 << 20;

bool is_help(const std::string& word) { return word == "--help" || word == "-h"; }

}  // namespace

ProgramInput ProgramInput::from_main(int argc, const char* const* argv, const char* const* environment) {
  ProgramInput input;
  for (int i = 1; i < argc; ++i) input.arguments.emplace_back(argv[i]);
  for (; environment && *environment; ++environment) input.environment.emplace_back(*environment);
  return input;
}

ProgramOptions::ProgramOptions(std::string program, std::string version, std::vector<Subcommand> subcommands)
    : program_(std::move(program)), version_(std::move(version)), subcommands_(std::move(subcommands)) {}

void ProgramOptions::add_group(std::string name, std::string help, const ConfigType& type, void* object) {
  if (!type.as_struct() && !type.as_choice()) throw UsageError("cli", fmt::format("group {} is neither a struct nor a choice", name));
  groups_.push_back({std::move(name), std::move(help), &type, object});
}

std::vector<std::string> ProgramOptions::root_keys() const {
  std::vector<std::string> keys;
  for (const auto& group : ungrouped_)
    for (auto& key : group.type->as_struct()->keys()) keys.push_back(std::move(key));
  for (const auto& group : groups_) keys.push_back(group.name);
  return keys;
}

bool ProgramOptions::read_entry(const ConfigEntry& entry, const ConfigLocation& location) {
  for (const auto& group : groups_) {
    if (group.name != entry.key) continue;
    // A group with commented lines only sets nothing. An explicit null, as --print_config writes it, resets an optional choice.
    group.type->read(group.object, entry.value, location.field(group.name, nullptr));
    return true;
  }
  for (const auto& group : ungrouped_)
    if (group.type->as_struct()->read_entry(group.object, entry, location)) return true;
  return false;
}

// Keys with the prefix x- are ignored: they hold YAML anchors.
void ProgramOptions::read_layer(const ConfigValue& layer, std::map<std::string, ConfigSource>& set) {
  const ConfigLocation location{"", nullptr, &set};
  for (const auto& entry : layer.entries) {
    if (read_entry(entry, location) || entry.key.starts_with("x-")) continue;
    const auto known = root_keys();
    auto nearest = nearest_name(entry.key, known);
    if (nearest.empty())  // such as max_epochs without its group
      for (const auto& option : options())
        if (option.path.ends_with("." + entry.key)) nearest = option.path;
    location.field(entry.key.size() <= 80 ? entry.key : quote(entry.key), nullptr)
        .fail(entry.source, "unknown key",
              (nearest.empty() ? "" : fmt::format("did you mean {}? ", nearest)) + fmt::format("known here: {}", joined(known)));
  }
}

// Shorter paths first: in --trainer.strategy.prefetch 2 --trainer.strategy fsdp, prefetch is a field of fsdp.
void ProgramOptions::read_given(std::vector<Given> given, std::map<std::string, ConfigSource>& set) {
  std::stable_sort(given.begin(), given.end(), [](const Given& a, const Given& b) { return a.path.size() < b.path.size(); });
  for (auto& option : given) read_layer(ConfigValue::at_path(option.path, std::move(option.value)), set);
}

std::vector<ProgramOptions::Given> ProgramOptions::given_by_environment(const std::vector<std::string>& environment) const {
  std::vector<Given> given;
  const auto known = root_keys();
  const auto all = options();
  for (const auto& variable : environment) {
    const auto equals = variable.find('=');
    if (!variable.starts_with("LEVIN_") || equals == std::string::npos) continue;
    const std::string name = variable.substr(0, equals), text = variable.substr(equals + 1);
    const auto source = ConfigSource::named("environment " + sanitized(name));
    if (first_bad_byte(variable) != std::string::npos) throw ConfigError(fmt::format("{} is not valid UTF-8", source.text()));
    std::string path;
    for (size_t i = 6; i < equals; ++i) {
      if (variable.compare(i, 2, "__") == 0 && i + 2 < equals) {
        path += '.';
        ++i;
      } else {
        path += static_cast<char>(std::tolower(static_cast<unsigned char>(variable[i])));
      }
    }
    auto parts = detail::split_path(path);
    const bool is_root = std::find(known.begin(), known.end(), parts.front()) != known.end();
    if (!is_root && std::find(other_variables.begin(), other_variables.end(), name) != other_variables.end()) continue;
    if (!is_root) {
      std::vector<std::string> names(other_variables.begin(), other_variables.end());
      for (const auto& option : all) {
        std::string as_variable = "LEVIN_";
        for (char c : option.path)
          as_variable += c == '.' ? "__" : std::string(1, static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
        names.push_back(std::move(as_variable));
      }
      const auto nearest = nearest_name(name, names);
      throw ConfigError(fmt::format("{}: unknown option", source.text()),
                        nearest.empty() ? "unset it; --help lists all options" : fmt::format("did you mean {}?", nearest));
    }
    given.push_back({std::move(parts), detail::value_of_text(text, path, all, source)});
  }
  return given;
}

ProgramCommand ProgramOptions::parse(const ProgramInput& input) {
  // Help works even if other options are invalid.
  const auto is_subcommand = [this](const std::string& word) {
    return std::any_of(subcommands_.begin(), subcommands_.end(), [&](const Subcommand& known) { return known.name == word; });
  };
  for (size_t i = 0; i < input.arguments.size(); ++i) {
    const auto& word = input.arguments[i];
    if (word.size() > longest_argument)
      throw ConfigError(fmt::format("command line: an argument has {} bytes, the limit is {}", word.size(), longest_argument),
                        "put it into a config file");
    if (word.starts_with("--help=")) return {"", help(std::string_view(word).substr(7)), {}};
    if (!is_help(word)) continue;
    const std::string name = i + 1 < input.arguments.size() ? input.arguments[i + 1] : "";
    const bool is_group = std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) { return group.name == name; });
    if (name.empty() || name.starts_with('-') || (is_subcommand(name) && !is_group)) return {"", help_of_line(input), {}};
    return {"", help(name), {}};
  }

  const auto all = options();
  const auto line = detail::parse_command_line(input.arguments, all);
  if (line.version) return {"", program_ + " " + version_ + "\n", {}};

  ProgramCommand command;
  std::vector<std::string> names;
  for (const auto& subcommand : subcommands_) names.push_back(subcommand.name);
  if (line.subcommands.size() > 1)
    throw ConfigError(
        fmt::format("command line: {} and {} are two words without an option", quote(line.subcommands[0]), quote(line.subcommands[1])),
        fmt::format("give one subcommand of: {}; write a value after its option", joined(names)));
  if (line.subcommands.empty() && !line.print_config)
    throw ConfigError("no subcommand given", fmt::format("choose one of: {} (--help lists all options)", joined(names)), "cli");
  if (!line.subcommands.empty() && std::find(names.begin(), names.end(), line.subcommands[0]) == names.end()) {
    const auto nearest = nearest_name(line.subcommands[0], names);
    throw ConfigError(fmt::format("command line: {} is unknown{}", quote(line.subcommands[0]),
                                  nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)),
                      fmt::format("allowed: {}", joined(names)));
  }

  for (const auto& file : input.base_files) {
    auto layer = load_yaml(file);
    if (input.base_keys)
      for (auto& entry : layer.entries)
        if (!input.base_keys(entry.key))
          std::erase_if(entry.value.entries, [&](const ConfigEntry& inner) { return !input.base_keys(entry.key + "." + inner.key); });
    std::erase_if(layer.entries,
                  [&](const ConfigEntry& entry) { return input.base_keys && !input.base_keys(entry.key) && entry.value.entries.empty(); });
    read_layer(layer, command.set);
  }
  read_given(given_by_environment(input.environment), command.set);
  for (const auto& file : line.config_files) read_layer(load_yaml(file), command.set);
  std::vector<Given> given;
  const auto source = ConfigSource::named("command line");
  for (const auto& [path, text] : line.values) given.push_back({detail::split_path(path), detail::value_of_text(text, path, all, source)});
  read_given(std::move(given), command.set);
  apply_links(command.set);
  check();

  if (line.print_config)
    command.text = to_yaml(true);
  else
    command.subcommand = line.subcommands[0];
  return command;
}

std::string ProgramOptions::help_of_line(ProgramInput input) {
  std::erase_if(input.arguments, is_help);
  input.arguments.emplace_back("--print_config");  // a subcommand need not be given
  try {
    parse(input);
  } catch (const Error&) {  // what was read before it decides which fields are shown
  }
  return help();
}

void ProgramOptions::make_paths_absolute(const std::filesystem::path& base) {
  for (const auto& group : ungrouped_) group.type->make_absolute(group.object, base);
  for (const auto& group : groups_) group.type->make_absolute(group.object, base);
}

void ProgramOptions::check() const {
  for (const auto& group : ungrouped_) group.type->check(group.object, {});
  for (const auto& group : groups_)
    if (!waits_for_a_link(group.name)) group.type->check(group.object, ConfigLocation{group.name});
}

ConfigValue ProgramOptions::write(bool linked) const {
  ConfigValue root = ConfigValue::map();
  for (const auto& group : ungrouped_)
    for (auto& entry : group.type->write(group.object).entries) root.entries.push_back(std::move(entry));
  for (const auto& group : groups_) root.add(group.name, group.type->write(group.object), group.help);
  if (!linked) leave_out_linked(root);
  return root;
}

std::string ProgramOptions::to_yaml(bool comments) const { return levin::to_yaml(write(), comments); }

std::vector<ConfigOption> ProgramOptions::options() const {
  std::vector<ConfigOption> options;
  for (const auto& group : ungrouped_)
    for (auto& option : list_options(*group.type, group.object)) options.push_back(std::move(option));
  for (const auto& group : groups_) {
    if (!group.type->as_choice()) options.push_back({group.name, group.help, "", "", "", "", group.type, true});
    for (auto& option : options_of(group)) options.push_back(std::move(option));
  }
  return options;
}

std::vector<ConfigOption> ProgramOptions::options_of(const Group& group) const {
  auto options = list_options(*group.type, group.object, group.name);
  if (group.type->as_choice()) options.front().help = group.help;
  for (auto& option : options)
    for (const auto& link : links_)
      if (link.target == option.path && link.alternative == option.alternative)
        option.linked += (option.linked.empty() ? "" : ", ") + link.source;
  return options;
}

}  // namespace levin
