#include "alternatives.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

ChoiceType::ChoiceType(std::vector<Alternative> alternatives) {
  for (auto& alternative : alternatives) {
    detail::check_alternative(alternative, alternatives_);
    alternatives_.push_back(std::move(alternative));
  }
}

std::string ChoiceType::name() const { return "one of: " + joined(detail::first_names(alternatives_)); }

void ChoiceType::choose(void* object, const ConfigValue& value, const ConfigLocation& location,
                        const ConfigLocation& location_of_name) const {
  const size_t found = detail::find_alternative(alternatives_, value, location_of_name);
  if (index(object) != found) {  // the same one keeps its fields
    emplace(object, found);
    location.forget_fields();
  }
  location_of_name.record(value.source);
}

void ChoiceType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.kind != ConfigValue::Kind::map) return choose(object, value, location, location);
  if (const auto* given = value.find("name")) choose(object, *given, location, location.field("name", nullptr));
  try {
    alternatives_[index(object)].type->read(const_cast<void*>(chosen(object)), detail::without_name(value), location);
  } catch (const ConfigError& error) {
    if (value.find("name")) throw;
    std::string_view message = error.what();
    message.remove_prefix(std::min(message.size(), error.tag().size() + 3));
    throw ConfigError(fmt::format("{} (chosen: {})", message, alternatives_[index(object)].names.front()), "", error.tag());
  }
}

void ChoiceType::check(const void* object, const ConfigLocation& location) const {
  alternatives_[index(object)].type->check(chosen(object), location);
}

void ChoiceType::make_absolute(void* object, const std::filesystem::path& base) const {
  alternatives_[index(object)].type->make_absolute(const_cast<void*>(chosen(object)), base);
}

ConfigValue ChoiceType::write(const void* object) const {
  return detail::write_alternative(alternatives_[index(object)], chosen(object), name());
}

}  // namespace levin
