#pragma once
// Named alternatives, common to closed and open choices.
#include "levin/core/config_kinds.h"

namespace levin::detail {

/// UsageError if `alternative` conflicts with the others.
void check_alternative(const Alternative& alternative, const std::vector<Alternative>& others);
std::vector<std::string> first_names(const std::vector<Alternative>& alternatives);
/// Its names, then its class's.
std::vector<std::string> all_names(const Alternative& alternative);
/// Index of the alternative that a value names, by one of its names or, where it has that alone, by its class. Fails at `location`, with
/// the nearest name, if it is unknown.
size_t find_alternative(const std::vector<Alternative>& alternatives, const ConfigValue& name, const ConfigLocation& location);
/// Its fields without the key "name".
ConfigValue without_name(const ConfigValue& value);
/// The name alone if the alternative has no fields, else a map.
ConfigValue write_alternative(const Alternative& alternative, const void* object, const std::string& comment);

}  // namespace levin::detail
