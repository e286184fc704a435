#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "levin/core/named_values.h"

namespace levin::detail {

/// A number, or one of "NaN", "Infinity" and "-Infinity", which JSON has no numbers for.
nlohmann::ordered_json json_number(double value);
/// An object of the values; names begin with `prefix`.
nlohmann::ordered_json json_values(const NamedValues& values, const std::string& prefix);
/// The object as a line. Bytes that are not UTF-8 are replaced: a name may have any.
std::string json_line(const nlohmann::ordered_json& object);
/// Seconds since 1970 (UTC).
double wall_time();

}  // namespace levin::detail
