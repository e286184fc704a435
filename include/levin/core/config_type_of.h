#pragma once
// From a C++ type to its ConfigType.
#include <concepts>
#include <span>
#include <type_traits>

#include "levin/core/config_kinds.h"

namespace levin {

/// Described by LEVIN_CONFIG.
template <class T>
concept DescribedStruct = requires {
  levin_describe(std::type_identity<T>{});
};
/// Described by LEVIN_ENUM.
template <class T>
concept DescribedEnum = std::is_enum_v<T> && requires {
  levin_enum_names(std::type_identity<T>{});
};
/// A small type that reads and writes itself as one word, as Seconds does.
template <class T>
concept TextType = requires(const T& value, std::string_view text) {
  { T::from_text(text) } -> std::same_as<std::optional<T>>;
  { value.to_text() } -> std::same_as<std::string>;
  { T::format } -> std::convertible_to<std::string_view>;
};

struct EnumName {
  int64_t value;
  std::string_view name;
};

/// The name of a described enumerator.
template <DescribedEnum E>
std::string_view enum_name(E value) {
  for (const EnumName& entry : levin_enum_names(std::type_identity<E>{}))
    if (entry.value == static_cast<int64_t>(value)) return entry.name;
  return "?";
}

namespace detail {

template <class T>
class TypeOf : public ConfigType {
  static_assert(sizeof(T) == 0, "this is not a type of a config field: describe it with LEVIN_CONFIG or LEVIN_ENUM, above this place");
};

}  // namespace detail

/// The one ConfigType of T.
template <class T>
const ConfigType& config_type() {
  if constexpr (DescribedStruct<T>) {
    return levin_describe(std::type_identity<T>{});
  } else {
    static const detail::TypeOf<T> type;
    return type;
  }
}

}  // namespace levin

#include "levin/core/config_containers.h"
#include "levin/core/config_scalars.h"
