#include "levin/cli/path_list.h"

namespace levin::detail {

void TypeOf<cli::PathList>::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  if (value.kind == ConfigValue::Kind::sequence) {
    for (const auto& given : value.items)
      if (given.kind == ConfigValue::Kind::scalar && given.text.empty()) location.fail(value.source, "has an empty path", "remove it");
    return SequenceType::read(object, value, location);
  }
  if (value.kind != ConfigValue::Kind::scalar || value.is_null())
    location.fail(value.source, value.is_null() ? "has no value" : "a map is not allowed", "allowed: " + allowed({}));
  std::filesystem::path path;
  item().read(&path, value, location);
  clear(object);
  if (!path.empty()) static_cast<cli::PathList*>(object)->paths.push_back(std::move(path));
}

ConfigValue TypeOf<cli::PathList>::write(const void* object) const {
  if (size(object) > 1) return SequenceType::write(object);
  return item().write(size(object) == 1 ? get(object, 0).get() : item().make().get());
}

}  // namespace levin::detail
