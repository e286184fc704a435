#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/config_options.h"

namespace levin {

struct Subcommand {
  std::string name, help;
};

/// All that options can come from. The library reads neither argv nor the environment by itself.
struct ProgramInput {
  std::vector<std::string> arguments;                      ///< without the program's name
  std::vector<std::string> environment;                    ///< NAME=value, all of it
  std::vector<std::filesystem::path> base_files;           ///< rank between defaults and environment: a resumed run's config
  std::function<bool(const std::string&)> base_keys = {};  ///< which of their keys ("model", "trainer.precision") count; empty: all

  static ProgramInput from_main(int argc, const char* const* argv, const char* const* environment);
};

/// The request of the command line.
struct ProgramCommand {
  std::string subcommand;  ///< empty when there is a text
  std::string text;        ///< --help, --version or --print_config: print this and end with 0
  /// Who set a path that is not at its default: "trainer.max_epochs" -> run.yaml:3:7.
  std::map<std::string, ConfigSource> set;
};

/// A field of a group whose value comes from somewhere else. Where the link holds, the field is no option: given all the same, it is a
/// ConfigError, and a written config does not have it.
struct OptionLink {
  std::string source;           ///< for a reader: "data.classes"
  std::string target;           ///< "model.classes"
  std::string alternative;      ///< the target's, where its group is a choice
  std::function<bool()> holds;  ///< whether both ends are among what is chosen
  std::function<void()> apply;  ///< sets the target
  bool late = false;            ///< the source is no option, and there only when the program calls apply_late_links
};

/// A program's options, assembled at run time from described structs. A group's fields are --GROUP.FIELD, GROUP: {FIELD: …} in YAML and
/// LEVIN_GROUP__FIELD in the environment. Later wins: defaults, environment, config files in order, command line.
class ProgramOptions {
 public:
  ProgramOptions(std::string program, std::string version, std::vector<Subcommand> subcommands);

  /// The objects are filled by parse and must outlive this. A group may be a described struct, a choice (std::variant), or an
  /// optional of one.
  template <class T>
  void add_group(std::string name, std::string help, T& config) {
    add_group(std::move(name), std::move(help), config_type<T>(), &config);
  }
  /// Fields that are named without a group.
  template <DescribedStruct T>
  void add(T& config) {
    ungrouped_.push_back({"", "", config_type<T>().as_struct(), &config});
  }
  void add_group(std::string name, std::string help, const ConfigType& type, void* object);
  void add_link(OptionLink link) { links_.push_back(std::move(link)); }

  /// Fills the objects, checks them, and returns the request. ConfigError names the source, the key, the allowed values and the nearest
  /// known name; the objects may then be half filled.
  ProgramCommand parse(const ProgramInput& input);
  /// After parse: whether there are links whose source is not there yet. A group that waits for one is not checked before it is applied.
  bool has_late_links() const;
  /// Resolves every relative path among the options against `base`, an absolute directory.
  void make_paths_absolute(const std::filesystem::path& base);
  void apply_late_links();

  /// The objects as YAML, which loads to the same values. With comments: help and allowed values.
  std::string to_yaml(bool comments) const;
  /// The same as a value; `linked`: with the fields that links set.
  ConfigValue write(bool linked = false) const;
  /// Every option there is, in the order of --help.
  std::vector<ConfigOption> options() const;
  /// The options, of choices those of what is chosen now.
  std::string help() const;
  /// The part that a name selects: all, a group, an option, a choice (callbacks) or a component (callbacks.early_stopping, EarlyStopping).
  /// A path may be given by its end. ConfigError for a name that selects nothing.
  std::string help(std::string_view name) const;

 private:
  struct Group {
    std::string name, help;
    const ConfigType* type;
    void* object;
  };
  /// A value for a path, from a command line or the environment.
  struct Given {
    std::vector<std::string> path;
    ConfigValue value;
  };

  void read_layer(const ConfigValue& layer, std::map<std::string, ConfigSource>& set);
  void read_given(std::vector<Given> given, std::map<std::string, ConfigSource>& set);
  std::string whole_help(bool chosen_only) const;
  std::string help_of_line(ProgramInput input);
  bool read_entry(const ConfigEntry& entry, const ConfigLocation& location);
  std::vector<std::string> root_keys() const;
  std::vector<Given> given_by_environment(const std::vector<std::string>& environment) const;
  void apply_links(const std::map<std::string, ConfigSource>& set);
  void leave_out_linked(ConfigValue& root) const;
  bool waits_for_a_link(const std::string& group) const;
  void check() const;
  std::vector<ConfigOption> options_of(const Group& group) const;

  std::string program_, version_;
  std::vector<Subcommand> subcommands_;
  std::vector<Group> groups_, ungrouped_;
  std::vector<OptionLink> links_;
  bool late_links_applied_ = false;
};

}  // namespace levin
