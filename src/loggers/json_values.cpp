#include "json_values.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

namespace levin::detail {

nlohmann::ordered_json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

nlohmann::ordered_json json_values(const NamedValues& values, const std::string& prefix) {
  auto object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) object[prefix + name] = json_number(value);
  return object;
}

std::string json_line(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

double wall_time() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace levin::detail
