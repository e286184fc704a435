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

void ChoiceType::choose(void* object, const ConfigValue& value, const ConfigPlace& place, const ConfigPlace& place_of_name) const {
  const size_t found = detail::find_alternative(alternatives_, value, place_of_name);
  if (index(object) != found) {  // the same one keeps its fields
    emplace(object, found);
    place.forget_fields();
  }
  place_of_name.record(value.source);
}

void ChoiceType::read(void* object, const ConfigValue& value, const ConfigPlace& place) const {
  if (value.kind != ConfigValue::Kind::map) return choose(object, value, place, place);
  if (const auto* given = value.find("name")) choose(object, *given, place, place.field("name", nullptr));
  try {
    alternatives_[index(object)].type->read(const_cast<void*>(chosen(object)), detail::without_name(value), place);
  } catch (const ConfigError& error) {
    if (value.find("name")) throw;
    std::string_view what = error.what();
    what.remove_prefix(std::min(what.size(), error.tag().size() + 3));
    throw ConfigError(fmt::format("{} (chosen: {})", what, alternatives_[index(object)].names.front()), "", error.tag());
  }
}

void ChoiceType::check(const void* object, const ConfigPlace& place) const {
  alternatives_[index(object)].type->check(chosen(object), place);
}

void ChoiceType::make_absolute(void* object, const std::filesystem::path& base) const {
  alternatives_[index(object)].type->make_absolute(const_cast<void*>(chosen(object)), base);
}

ConfigValue ChoiceType::write(const void* object) const {
  return detail::write_alternative(alternatives_[index(object)], chosen(object), name());
}

}  // namespace levin
