#include <fmt/core.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cctype>
#include <sstream>

#include "levin/cli/program_options.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

namespace po = boost::program_options;

constexpr unsigned columns = 110, description_columns = 62;

// The placeholder of a value: "--trainer.max_epochs INTEGER".
std::string value_word(const ConfigOption& option) {
  if (option.type->is_bool()) return "[true|false]";
  if (option.type->as_choice()) return "NAME";
  if (option.type->as_open_choice()) return "[NAME, ...]";
  if (option.type->is_map()) return "{KEY: VALUE}";
  const auto name = option.type->name();
  if (option.type->is_compound() && !name.starts_with("path")) return "[A, B]";
  for (const auto& [start, word] : {std::pair{"integer", "INTEGER"},
                                    {"number", "NUMBER"},
                                    {"path", "PATH"},
                                    {"text", "TEXT"},
                                    {"one of", "NAME"},
                                    {"a duration", "TIME"},
                                    {"a size", "SIZE"}})
    if (name.starts_with(start)) return word;
  return "VALUE";
}

std::string about(const ConfigOption& option) {
  if (!option.linked.empty()) return fmt::format("{} (linked from {})", option.help, option.linked);
  return fmt::format("{}{}({}; default: {})", option.help, option.help.empty() ? "" : " ", option.allowed, option.value);
}

struct Section {
  std::string caption;
  std::vector<std::pair<std::string, std::string>> rows;
};

// Whether the value of a choice, such as "adamw" or "[csv, tensorboard]", names the alternative.
bool names_alternative(std::string_view value, std::string_view alternative) {
  const auto in_word = [&](size_t at) {
    return at < value.size() && (std::isalnum(static_cast<unsigned char>(value[at])) || value[at] == '_');
  };
  for (size_t at = value.find(alternative); at != std::string_view::npos; at = value.find(alternative, at + 1))
    if (!(at > 0 && in_word(at - 1)) && !in_word(at + alternative.size())) return true;
  return false;
}

// Whether the option is a field of what is chosen.
bool is_of_chosen(const ConfigOption& option, const std::vector<ConfigOption>& options) {
  if (option.alternative.empty()) return true;
  for (const auto& choice : options)
    if (choice.path == option.choice) return names_alternative(choice.value, option.alternative);
  return true;
}

// The options under a caption, then one section per alternative of each choice. Without a caption they join the previous section.
void add_sections(const std::vector<ConfigOption>& options, const std::string& caption, bool chosen_only, std::vector<Section>& sections) {
  if (!caption.empty()) sections.push_back({caption, {}});
  const size_t own = sections.size() - 1;
  for (const auto& option : options) {
    if (option.is_struct || (chosen_only && !is_of_chosen(option, options))) continue;
    Section* section = &sections[own];
    if (!option.alternative.empty()) {
      const auto title = fmt::format("with --{} {}", option.choice, option.alternative);
      if (sections.back().caption != title) sections.push_back({title, {}});
      section = &sections.back();
    }
    section->rows.emplace_back(fmt::format("{} {}", option.path, value_word(option)), about(option));
  }
}

void print(std::ostream& out, const Section& section) {
  if (section.rows.empty()) return;
  po::options_description described(section.caption, columns, description_columns);
  for (const auto& [name, text] : section.rows) {
    const auto space = name.find(' ');
    if (space == std::string::npos)
      described.add_options()(name.c_str(), text.c_str());
    else
      described.add_options()(name.substr(0, space).c_str(), po::value<std::string>()->value_name(name.substr(space + 1)), text.c_str());
  }
  out << '\n' << described;
}

std::string caption_of(const std::string& group, const std::string& help) {
  return help.empty() ? group : fmt::format("{}: {}", group, help);
}

// The options that a name selects, out of a group's.
struct Selection {
  explicit Selection(std::string_view name) : name(name) {}

  // Whether the name is the path or the end of it: "callbacks" is one of trainer.callbacks.
  bool is_named(std::string_view path) const {
    return !name.empty() && path.ends_with(name) && (path.size() == name.size() || path[path.size() - name.size() - 1] == '.');
  }

  // The options come in the order of their paths: a choice before the fields of its components.
  void add(const ConfigOption& option) {
    know(option.path);
    const bool named = is_named(option.path);
    if (named) above.push_back(option.path + ".");
    bool selected = named || std::any_of(above.begin(), above.end(), [&](const auto& path) { return option.path.starts_with(path); });
    for (const auto& [choice, alternative] : components)
      if (option.choice == choice && option.alternative == alternative) {
        selected = true;
        std::erase(without_options, fmt::format("{}.{}", choice, alternative));
      }
    for (const auto& names : option.alternatives)
      for (const auto& of_component : names) {
        const auto path = fmt::format("{}.{}", option.path, of_component);
        know(path);
        if (!is_named(path)) continue;
        components.emplace_back(option.path, names.front());
        without_options.push_back(fmt::format("{}.{}", option.path, names.front()));
      }
    if (selected) options.push_back(option);
  }

  bool found() const { return !options.empty() || !without_options.empty(); }

  std::string_view name;
  std::vector<ConfigOption> options;
  std::vector<std::string> without_options;  // components
  std::vector<std::string> known;            // paths of options and components, and their ends

 private:
  void know(const std::string& path) {
    known.push_back(path);
    for (auto dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) known.push_back(path.substr(dot + 1));
  }

  std::vector<std::string> above;                               // begin the paths of what is below a selected option
  std::vector<std::pair<std::string, std::string>> components;  // choice and alternative
};

}  // namespace

std::string ProgramOptions::help() const { return whole_help(/*chosen_only=*/true); }

std::string ProgramOptions::whole_help(bool chosen_only) const {
  std::ostringstream out;
  std::string words;
  for (const auto& subcommand : subcommands_) words += (words.empty() ? "" : "|") + subcommand.name;
  out << fmt::format("usage: {} {} [--config FILE] [--GROUP.NAME VALUE | --GROUP.NAME=VALUE ...]\n", program_, words);
  for (const auto& subcommand : subcommands_) out << fmt::format("  {:<12} {}\n", subcommand.name, subcommand.help);
  out << "\nLater wins: defaults, environment (LEVIN_GROUP__NAME=VALUE), config files in order, command line.\n";
  std::vector<Section> sections{{"Options",
                                 {{"help [NAME]", "this text, or that of a group, option, choice or component; all: every component's"},
                                  {"version", "the program's name and version"},
                                  {"config FILE", "a YAML file of options; may be given several times"},
                                  {"print_config", "the effective options as YAML, which --config reads"}}}};
  for (const auto& group : ungrouped_) add_sections(options_of(group), "", chosen_only, sections);
  for (const auto& group : groups_) add_sections(options_of(group), caption_of(group.name, group.help), chosen_only, sections);
  for (const auto& section : sections) print(out, section);
  if (chosen_only)
    out << "\nThe options of a component that is not chosen: --help NAME. Those of all: --help GROUP.CHOICE, or --help all.\n";
  return out.str();
}

std::string ProgramOptions::help(std::string_view name) const {
  if (name == "all") return whole_help(/*chosen_only=*/false);
  std::ostringstream out;
  std::vector<std::string> known{"all"};
  bool found = false;
  for (const auto* groups : {&ungrouped_, &groups_})
    for (const auto& group : *groups) {
      const auto options = options_of(group);
      const bool whole = !group.name.empty() && name == group.name && !group.type->as_choice();
      Selection selection(name);
      for (const auto& option : options) selection.add(option);
      std::vector<Section> sections;
      add_sections(whole ? options : selection.options, group.name.empty() ? "Options" : caption_of(group.name, group.help), whole,
                   sections);
      for (const auto& section : sections) print(out, section);
      for (const auto& component : selection.without_options) out << fmt::format("\n{}: no options\n", component);
      found = found || whole || selection.found();
      known.push_back(group.name);
      for (const auto& path : selection.known) known.push_back(path);
    }
  if (found) return out.str();
  const auto nearest = nearest_name(name, known);
  throw ConfigError(fmt::format("command line: --help {}: unknown option or component", quote(name)),
                    nearest.empty() ? "--help lists all" : fmt::format("did you mean --help {}?", nearest));
}

}  // namespace levin
