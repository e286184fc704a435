#pragma once
// LEVIN_CONFIG, LEVIN_ENUM and LEVIN_CHOICE.
#include <algorithm>
#include <array>
#include <string_view>

#include "levin/core/config_modifiers.h"

namespace levin::detail {

// What a modifier must fit: the type inside optionals, vectors and maps.
template <class T>
struct LeafOf {
  using type = T;
};
template <class T>
struct LeafOf<std::optional<T>> : LeafOf<T> {};
template <class T>
struct LeafOf<std::vector<T>> : LeafOf<T> {};
template <class T>
struct LeafOf<std::map<std::string, T>> : LeafOf<T> {};

template <class T, class... Modifiers>
ConfigField field(const char* name, const char* help, void* (*member)(void*), const Modifiers&... modifiers) {
  static_assert((Modifiers::template fits<typename LeafOf<T>::type> && ...), "a modifier does not fit the type of its field");
  ConfigField described{name, help, {}, &config_type<T>, member};
  (modifiers.apply(described.constraints), ...);
  return described;
}

template <class T>
StructType struct_type(const char* name, std::vector<ConfigField> fields) {
  StructType::Validate validate = nullptr;
  if constexpr (requires(const T& config) { config.validate(); })
    validate = [](const void* object) { static_cast<const T*>(object)->validate(); };
  return {name, [] { return std::static_pointer_cast<void>(std::make_shared<T>()); }, validate, std::move(fields)};
}

template <size_t N>
constexpr bool all_different(const std::array<std::string_view, N>& names) {
  for (size_t i = 0; i < N; ++i)
    for (size_t j = i + 1; j < N; ++j)
      if (names[i] == names[j]) return false;
  return true;
}

}  // namespace levin::detail

// Each round expands four times more often than the one below: 1024 in all, and more rounds cost nothing until they are used.
#define LEVIN_EXPAND(...) LEVIN_EXPAND_4(LEVIN_EXPAND_4(LEVIN_EXPAND_4(LEVIN_EXPAND_4(__VA_ARGS__))))
#define LEVIN_EXPAND_4(...) LEVIN_EXPAND_3(LEVIN_EXPAND_3(LEVIN_EXPAND_3(LEVIN_EXPAND_3(__VA_ARGS__))))
#define LEVIN_EXPAND_3(...) LEVIN_EXPAND_2(LEVIN_EXPAND_2(LEVIN_EXPAND_2(LEVIN_EXPAND_2(__VA_ARGS__))))
#define LEVIN_EXPAND_2(...) LEVIN_EXPAND_1(LEVIN_EXPAND_1(LEVIN_EXPAND_1(LEVIN_EXPAND_1(__VA_ARGS__))))
#define LEVIN_EXPAND_1(...) LEVIN_EXPAND_0(LEVIN_EXPAND_0(LEVIN_EXPAND_0(LEVIN_EXPAND_0(__VA_ARGS__))))
#define LEVIN_EXPAND_0(...) __VA_ARGS__
#define LEVIN_PARENS ()

// macro(Type, entry) for every entry.
#define LEVIN_FOR_EACH(macro, Type, ...) __VA_OPT__(LEVIN_EXPAND(LEVIN_FOR_EACH_STEP(macro, Type, __VA_ARGS__)))
#define LEVIN_FOR_EACH_STEP(macro, Type, entry, ...) \
  macro(Type, entry) __VA_OPT__(LEVIN_FOR_EACH_AGAIN LEVIN_PARENS(macro, Type, __VA_ARGS__))
#define LEVIN_FOR_EACH_AGAIN() LEVIN_FOR_EACH_STEP

#define LEVIN_FIELD(Type, entry) LEVIN_FIELD_OF(Type, LEVIN_UNPACK entry)
#define LEVIN_UNPACK(...) __VA_ARGS__
#define LEVIN_FIELD_OF(Type, ...) LEVIN_FIELD_IS(Type, __VA_ARGS__)
#define LEVIN_FIELD_IS(Type, member, ...)                                                                        \
  ::levin::detail::field<decltype(Type::member)>(#member, LEVIN_HELP(__VA_ARGS__, ), [](void* object) -> void* { \
    return &static_cast<Type*>(object)->member;                                                                  \
  } LEVIN_REST(__VA_ARGS__)),
#define LEVIN_HELP(help, ...) help
#define LEVIN_REST(help, ...) __VA_OPT__(, __VA_ARGS__)
#define LEVIN_EMPTY_BRACES(Type, entry) {},
#define LEVIN_FIELD_NAME(Type, entry) LEVIN_FIRST_NAME entry,
#define LEVIN_FIRST_NAME(member, ...) std::string_view(#member)

/// LEVIN_CONFIG(Type, (field, "help", modifiers…), …): see config.h. Fields are counted by initialising the struct with N {}.
#define LEVIN_CONFIG(Type, ...)                                                                                                          \
  inline const ::levin::StructType& levin_describe(std::type_identity<Type>) {                                                           \
    static_assert(std::is_aggregate_v<Type>,                                                                                             \
                  "LEVIN_CONFIG(" #Type "): " #Type " must be a plain struct, without constructors or private fields");                  \
    static_assert(::levin::detail::all_different(                                                                                        \
                      std::to_array<std::string_view>({LEVIN_FOR_EACH(LEVIN_FIELD_NAME, Type, __VA_ARGS__) std::string_view()})),        \
                  "LEVIN_CONFIG(" #Type "): a field is described twice");                                                                \
    static_assert(                                                                                                                       \
        ![]<class T>() {                                                                                                                 \
          return requires { T{LEVIN_FOR_EACH(LEVIN_EMPTY_BRACES, Type, __VA_ARGS__){}}; };                                               \
        }.template operator()<Type>(),                                                                                                   \
        "LEVIN_CONFIG(" #Type "): a field of " #Type " is not described");                                                               \
    using namespace ::levin::config_modifiers;                                                                                           \
    static const ::levin::StructType type = ::levin::detail::struct_type<Type>(#Type, {LEVIN_FOR_EACH(LEVIN_FIELD, Type, __VA_ARGS__)}); \
    return type;                                                                                                                         \
  }

#define LEVIN_ENUMERATOR(Type, entry) LEVIN_ENUMERATOR_OF(Type, LEVIN_UNPACK entry)
#define LEVIN_ENUMERATOR_OF(Type, ...) LEVIN_ENUMERATOR_IS(Type, __VA_ARGS__)
#define LEVIN_ENUMERATOR_IS(Type, value, name) ::levin::EnumName{static_cast<int64_t>(Type::value), name},

/// LEVIN_ENUM(Type, (value, "name"), …) beside the enum, in its namespace.
#define LEVIN_ENUM(Type, ...)                                                                           \
  inline std::span<const ::levin::EnumName> levin_enum_names(std::type_identity<Type>) {                \
    static constexpr ::levin::EnumName names[] = {LEVIN_FOR_EACH(LEVIN_ENUMERATOR, Type, __VA_ARGS__)}; \
    return names;                                                                                       \
  }

/// LEVIN_CHOICE(Type, "name", "another name"…): what a described struct is called as an alternative of a choice (a std::variant).
#define LEVIN_CHOICE(Type, ...) \
  inline std::vector<std::string> levin_choice_names(std::type_identity<Type>) { return {__VA_ARGS__}; }
