#pragma once
// From a C++ type to its ConfigType.
#include <concepts>
#include <filesystem>
#include <limits>
#include <span>
#include <type_traits>
#include <variant>

#include "levin/core/config_kinds.h"
#include "levin/core/number_text.h"

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

namespace detail {

/// What ScalarTypes share that know their C++ type.
template <class T>
class Scalar : public ScalarType {
  std::shared_ptr<void> make() const override { return std::make_shared<T>(); }

 protected:
  static T& of(void* object) { return *static_cast<T*>(object); }
  static const T& of(const void* object) { return *static_cast<const T*>(object); }
};

template <class T>
requires(std::is_arithmetic_v<T> || std::same_as<T, std::string> || std::same_as<T, std::filesystem::path> || DescribedEnum<T> ||
         TextType<T>) class TypeOf<T> : public Scalar<T> {
 public:
  using Scalar<T>::of;

  std::string name() const override {
    if constexpr (std::same_as<T, bool>)
      return "true or false";
    else if constexpr (std::integral<T>)
      return whole_name();
    else if constexpr (std::floating_point<T>)
      return "number";
    else if constexpr (std::same_as<T, std::filesystem::path>)
      return "path";
    else if constexpr (std::same_as<T, std::string>)
      return "text";
    else if constexpr (TextType<T>)
      return std::string(T::format);
    else {
      std::string names;
      for (const EnumName& entry : levin_enum_names(std::type_identity<T>{}))
        names += (names.empty() ? "" : ", ") + std::string(entry.name);
      return "one of: " + names;
    }
  }
  bool is_bool() const noexcept override { return std::same_as<T, bool>; }

 protected:
  bool from_text(void* object, std::string_view text) const override {
    if constexpr (std::same_as<T, bool>) {
      const bool yes = text == "true" || text == "True";
      if (!yes && text != "false" && text != "False") return false;
      of(object) = yes;
    } else if constexpr (std::is_arithmetic_v<T>) {
      if (text.starts_with('.') && text.size() == 4) text.remove_prefix(1);  // .nan and .inf of YAML
      const auto number = parse_number<T>(text);
      if (!number) return false;
      of(object) = *number;
    } else if constexpr (TextType<T>) {
      const auto value = T::from_text(text);
      if (!value) return false;
      of(object) = *value;
    } else if constexpr (std::is_enum_v<T>) {
      for (const EnumName& entry : levin_enum_names(std::type_identity<T>{}))
        if (entry.name == text) {
          of(object) = static_cast<T>(entry.value);
          return true;
        }
      return false;
    } else {
      of(object) = std::string(text);
    }
    return true;
  }
  std::string to_text(const void* object) const override {
    const T& value = of(object);
    if constexpr (std::same_as<T, bool>)
      return value ? "true" : "false";
    else if constexpr (std::integral<T>)
      return std::to_string(value);
    else if constexpr (std::floating_point<T>)
      return number_text(value);
    else if constexpr (TextType<T>)
      return value.to_text();
    else if constexpr (std::is_enum_v<T>)
      return std::string(enum_name(value));
    else if constexpr (std::same_as<T, std::string>)
      return value;
    else
      return value.string();
  }
  std::optional<long double> number(const void* object) const override {
    if constexpr (std::is_arithmetic_v<T> && !std::same_as<T, bool>)
      return of(object);
    else if constexpr (requires { of(object).number(); })
      return of(object).number();
    else
      return std::nullopt;
  }
  bool is_text() const noexcept override { return !std::is_arithmetic_v<T> && !TextType<T>; }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    if constexpr (std::is_enum_v<T>)
      for (const EnumName& entry : levin_enum_names(std::type_identity<T>{})) names.emplace_back(entry.name);
    return names;
  }

 private:
  static std::string whole_name() {
    if constexpr (std::same_as<T, int64_t>)
      return "integer";
    else
      return "integer of " + std::to_string(std::numeric_limits<T>::min()) + " to " + std::to_string(std::numeric_limits<T>::max());
  }
};

}  // namespace detail
}  // namespace levin

#include "levin/core/config_containers.h"
