#pragma once
// Modifiers that follow a field's help in LEVIN_CONFIG. Each modifier says which fields it fits.
#include <concepts>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "levin/core/config_type_of.h"

namespace levin::config_modifiers {

template <class T>
concept Numeric = (std::is_arithmetic_v<T> && !std::same_as<T, bool>) || requires(const T& value) {
  value.number();
};

struct Range {
  std::optional<Bound> least, most;
  template <class Leaf>
  static constexpr bool fits = Numeric<Leaf>;
  void apply(Constraints& constraints) const {
    if (least) constraints.least = least;
    if (most) constraints.most = most;
  }
};

struct OneOf {
  std::vector<std::string> names;
  template <class Leaf>
  static constexpr bool fits = std::same_as<Leaf, std::string>;
  void apply(Constraints& constraints) const { constraints.one_of = names; }
};

struct InfiniteAllowed {
  template <class Leaf>
  static constexpr bool fits = std::is_floating_point_v<Leaf>;
  void apply(Constraints& constraints) const { constraints.infinite_allowed = true; }
};

struct Flattened {
  template <class Leaf>
  static constexpr bool fits = DescribedStruct<Leaf>;
  void apply(Constraints& constraints) const { constraints.flattened = true; }
};

template <Numeric T>
Bound bound(const T& value, bool itself_allowed = true) {
  if constexpr (std::floating_point<T>)
    return {value, value == static_cast<int64_t>(value) ? std::to_string(static_cast<int64_t>(value)) : number_text(value), itself_allowed};
  else if constexpr (std::is_arithmetic_v<T>)
    return {static_cast<long double>(value), std::to_string(value), itself_allowed};
  else
    return {value.number(), value.to_text(), itself_allowed};
}

template <Numeric T>
Range at_least(const T& least) {
  return {bound(least), {}};
}
template <Numeric T>
Range at_most(const T& most) {
  return {{}, bound(most)};
}
template <Numeric T>
Range greater_than(const T& least) {
  return {bound(least, false), {}};
}
template <Numeric T>
Range less_than(const T& most) {
  return {{}, bound(most, false)};
}
/// Both ends are allowed.
template <Numeric T, Numeric U>
Range between(const T& least, const U& most) {
  return {bound(least), bound(most)};
}
/// The allowed values of a text.
inline OneOf one_of(std::initializer_list<const char*> names) { return {{names.begin(), names.end()}}; }
/// NaN and infinity are refused otherwise.
inline constexpr InfiniteAllowed infinite_allowed{};
/// The fields of the struct stand among those of its parent.
inline constexpr Flattened flattened{};

}  // namespace levin::config_modifiers
