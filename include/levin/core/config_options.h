#pragma once
#include <string>
#include <vector>

#include "levin/core/config_type.h"

namespace levin {

/// One option, as --help shows it.
struct ConfigOption {
  std::string path;         ///< "trainer.strategy.prefetch"
  std::string help;         ///< the field's
  std::string allowed;      ///< "integer, at least 0"
  std::string value;        ///< what it is now, in one line of YAML
  std::string choice;       ///< the path of the choice that it belongs to: "trainer.strategy"; empty for a field of none
  std::string alternative;  ///< and which alternative's it is: "fsdp"
  const ConfigType* type;
  bool is_struct = false;   ///< a group: its fields follow
  std::string linked = {};  ///< where its value comes from, if it is linked and therefore not an option
  /// Of a choice: the names of each alternative, what YAML writes first, its class's last.
  std::vector<std::vector<std::string>> alternatives = {};
};

/// Every option under `path` of an object (or of its type's default, when `object` is null), those of all alternatives of a choice
/// among them. Fields of lists and maps are not options.
std::vector<ConfigOption> list_options(const ConfigType& type, const void* object = nullptr, const std::string& path = {});

}  // namespace levin
