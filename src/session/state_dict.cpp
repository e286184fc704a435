#include "levin/session/state_dict.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

// JSON cannot represent these.
constexpr std::pair<const char*, double> non_finite[] = {{"nan", std::numeric_limits<double>::quiet_NaN()},
                                                         {"inf", std::numeric_limits<double>::infinity()},
                                                         {"-inf", -std::numeric_limits<double>::infinity()}};

nlohmann::json to_json_number(double value) {
  if (std::isfinite(value)) return value;
  for (const auto& [name, number] : non_finite)
    if (value == number || (std::isnan(value) && std::isnan(number))) return {{"number", name}};
  return {};
}

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

StateDict::Value from_json(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.size() == 1 && value.contains("number"))
    for (const auto& [name, number] : non_finite)
      if (value["number"] == name) return number;
  throw std::runtime_error("a value is neither a number nor a string nor a boolean");
}

}  // namespace

const StateDict::Value& StateDict::find(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end())
    throw DataError(fmt::format("the state has no value \"{}\"", name), "resume with the program that wrote it", "session");
  return found->second;
}

void StateDict::refuse(std::string_view name) {
  throw DataError(fmt::format("the value \"{}\" of the state has an unexpected type", name), "resume with the program that wrote it",
                  "session");
}

std::string StateDict::to_json() const {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, value] : values_) {
    const auto* text = std::get_if<std::string>(&value);
    if (!is_utf8(name) || (text && !is_utf8(*text)))
      throw UsageError("session", fmt::format("the value {} of the state, or its name, is not valid UTF-8", quote(name)),
                       "save bytes as a tensor of uint8");
    if (const auto* number = std::get_if<double>(&value))
      object[name] = to_json_number(*number);
    else if (const auto* integer = std::get_if<int64_t>(&value))
      object[name] = *integer;
    else if (const auto* boolean = std::get_if<bool>(&value))
      object[name] = *boolean;
    else if (text)
      object[name] = *text;
  }
  return object.dump(1, ' ');
}

void StateDict::add_json(const std::string& text, const std::string& where) {
  try {
    const auto object = nlohmann::json::parse(text);
    if (!object.is_object()) throw std::runtime_error("not a JSON object");
    for (const auto& [name, value] : object.items()) values_.insert_or_assign(name, from_json(value));
  } catch (const std::exception& error) {
    throw DataError(fmt::format("{} cannot be read: {}", where, error.what()), "resume with the program that wrote it", "session");
  }
}

}  // namespace levin
