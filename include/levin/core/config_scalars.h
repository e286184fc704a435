#pragma once
// ConfigTypes of numbers, text, paths, enums and small types that are one word; included by config_type_of.h.
#include <concepts>
#include <filesystem>
#include <limits>
#include <type_traits>

#include "levin/core/config_type_of.h"
#include "levin/core/number_text.h"

namespace levin::detail {

/// Common base of ScalarTypes that know their C++ type.
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
  void make_absolute(void* object, const std::filesystem::path& base) const override {
    if constexpr (std::same_as<T, std::filesystem::path>)
      if (auto& path = of(object); !path.empty()) path = (base / path).lexically_normal();
  }

 protected:
  bool from_text(void* object, std::string_view text) const override {
    if constexpr (std::same_as<T, bool>) {
      const bool yes = text == "true" || text == "True";
      if (!yes && text != "false" && text != "False") return false;
      of(object) = yes;
    } else if constexpr (std::is_arithmetic_v<T>) {
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

}  // namespace levin::detail
