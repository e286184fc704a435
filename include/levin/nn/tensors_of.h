#pragma once
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

namespace detail {
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = !std::is_same_v<T, bool>;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
}  // namespace detail

/// Calls fn(Tensor&) for every tensor of a layer's output: a Tensor, or a pair, tuple, vector or optional of such, or a user's struct
/// with a function `template <class Fn> void tensors(Fn&& fn)` that hands its members to fn. Anything else has no tensors. Of a constant
/// value fn gets const Tensor&.
template <class T, class Fn>
void for_each_tensor(T& value, Fn&& fn) {
  using Value = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Value, Tensor>) {
    if (value.defined()) fn(value);
  } else if constexpr (requires { value.tensors(fn); }) {
    value.tensors([&](auto& member) { for_each_tensor(member, fn); });
  } else if constexpr (detail::is_vector<Value>) {
    for (auto& element : value) for_each_tensor(element, fn);
  } else if constexpr (detail::is_optional<Value>) {
    if (value) for_each_tensor(*value, fn);
  } else if constexpr (requires { std::tuple_size<Value>::value; }) {
    std::apply([&](auto&... element) { (for_each_tensor(element, fn), ...); }, value);
  }
}

}  // namespace levin
