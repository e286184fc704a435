#include <fmt/core.h>

#include <boost/program_options.hpp>
#include <cctype>
#include <sstream>

#include "levin/cli/program_options.h"

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

}  // namespace

std::string ProgramOptions::help(std::string_view only, bool chosen_only) const {
  std::ostringstream out;
  std::string words;
  for (const auto& subcommand : subcommands_) words += (words.empty() ? "" : "|") + subcommand.name;
  out << fmt::format("usage: {} {} [--config FILE] [--GROUP.NAME VALUE | --GROUP.NAME=VALUE ...]\n", program_, words);
  std::vector<Section> sections;
  if (only.empty()) {
    for (const auto& subcommand : subcommands_) out << fmt::format("  {:<12} {}\n", subcommand.name, subcommand.help);
    out << "\nLater wins: defaults, environment (LEVIN_GROUP__NAME=VALUE), config files in order, command line.\n";
    sections.push_back({"Options",
                        {{"help [GROUP]", "this text, or one group's part of it"},
                         {"version", "the program's name and version"},
                         {"config FILE", "a YAML file of options; may be given several times"},
                         {"print_config", "the effective options as YAML, which --config reads"}}});
    for (const auto& group : ungrouped_) add_sections(list_options(*group.type, group.object), "", chosen_only, sections);
  }
  for (const auto& group : groups_) {
    if (!only.empty() && only != group.name) continue;
    add_sections(options_of(group), group.help.empty() ? group.name : fmt::format("{}: {}", group.name, group.help), chosen_only, sections);
  }
  for (const auto& section : sections) print(out, section);
  if (chosen_only) out << "\nOptions of what is not chosen: --help without a subcommand, or --help GROUP.\n";
  return out.str();
}

}  // namespace levin
