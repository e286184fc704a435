#pragma once
#include <concepts>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "levin/core/tensor.h"

namespace levin {

/// Named values of a callback, a module or a loop that a checkpoint stores. A checkpoint keeps the values of rank 0, with rank 0's names
/// and shapes, and ignores those of other ranks. Set values that differ between ranks as EachRank or RankRows, on all ranks.
class StateDict {
 public:
  /// A tensor of this rank, [...], of the same shape on all ranks. Loaded as one Tensor [ranks, ...], in rank order.
  struct EachRank {
    Tensor value;
  };
  /// Rows of this rank, [rows, ...]; the number of rows may differ between ranks. Loaded as one Tensor [all rows, ...], in rank order, and
  /// a Tensor NAME.ranks, int64 [ranks], with the number of rows of each rank.
  struct RankRows {
    Tensor value;
  };
  using Value = std::variant<bool, int64_t, double, std::string, Tensor, EachRank, RankRows>;

  /// Adds or replaces a value. Integers are stored as int64, other numbers as double, bit for bit, NaN and infinities included.
  template <class T>
  void set(std::string_view name, const T& value) {
    if constexpr (std::same_as<T, bool> || std::same_as<T, Tensor> || std::same_as<T, EachRank> || std::same_as<T, RankRows>)
      values_.insert_or_assign(std::string(name), Value(value));
    else if constexpr (std::integral<T>)
      values_.insert_or_assign(std::string(name), Value(static_cast<int64_t>(value)));
    else if constexpr (std::floating_point<T>)
      values_.insert_or_assign(std::string(name), Value(static_cast<double>(value)));
    else
      values_.insert_or_assign(std::string(name), Value(std::string(value)));
  }
  bool contains(std::string_view name) const { return values_.find(name) != values_.end(); }
  /// The value, of the type that was set: bool, int64_t, double, std::string or Tensor. DataError if it is missing or of another type.
  template <class T>
  const T& get(std::string_view name) const {
    if (const T* value = std::get_if<T>(&find(name))) return *value;
    refuse(name);
  }
  bool empty() const noexcept { return values_.empty(); }
  const std::map<std::string, Value, std::less<>>& values() const noexcept { return values_; }

  /// All values except tensors, as JSON. UsageError for a name, or a text, that is not valid UTF-8.
  std::string to_json() const;
  /// Adds the values of a text that to_json made. DataError, with `where`, for any other text.
  void add_json(const std::string& text, const std::string& where);

 private:
  const Value& find(std::string_view name) const;
  [[noreturn]] static void refuse(std::string_view name);

  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace levin
