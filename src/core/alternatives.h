#pragma once
// What closed and open choices have in common: alternatives with names.
#include "levin/core/config_kinds.h"

namespace levin::detail {

/// UsageError where `alternative` cannot stand beside the others.
void check_alternative(const Alternative& alternative, const std::vector<Alternative>& others);
std::vector<std::string> first_names(const std::vector<Alternative>& alternatives);
/// The one that a value names; fails at `location`, with the nearest name, where there is none.
size_t find_alternative(const std::vector<Alternative>& alternatives, const ConfigValue& name, const ConfigLocation& location);
/// Its fields without the key "name".
ConfigValue without_name(const ConfigValue& value);
/// The name alone where there are no fields, else a map.
ConfigValue write_alternative(const Alternative& alternative, const void* object, const std::string& comment);

}  // namespace levin::detail
