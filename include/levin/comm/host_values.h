#pragma once
#include <c10/core/ScalarType.h>
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "levin/comm/communicator.h"

// Collectives on host values: numbers, texts, errors. All are collective over the communicator, block until the result is available, and
// throw CommunicatorAborted after an abort. They run on communicator.cpu(), so any communicator is valid.

namespace levin {

/// The ranks of a communicator; a null pointer stands for this process alone.
class ValueRanks {
 public:
  ValueRanks(Communicator& communicator) : communicator_(&communicator.cpu()) {}  // NOLINT(google-explicit-constructor)
  ValueRanks(Communicator* communicator)                                          // NOLINT(google-explicit-constructor)
      : communicator_(communicator ? &communicator->cpu() : nullptr) {}
  int rank() const noexcept { return communicator_ ? communicator_->rank() : 0; }
  int size() const noexcept { return communicator_ ? communicator_->size() : 1; }
  Communicator* communicator() const noexcept { return communicator_; }

 private:
  Communicator* communicator_;
};

namespace detail {
/// data [count] <- op over ranks of data.
void reduce_values(ValueRanks ranks, void* data, size_t count, at::ScalarType dtype, ReduceOp op);
/// data [bytes] <- root's data. All ranks pass the same number of bytes.
void broadcast_bytes(ValueRanks ranks, void* data, size_t bytes, int root);
/// Every rank's bytes in rank order; `sizes` becomes every rank's number of bytes.
std::vector<std::byte> all_gather_bytes(ValueRanks ranks, std::span<const std::byte> mine, std::vector<int64_t>& sizes);
template <class T>
constexpr at::ScalarType value_dtype() {
  static_assert(std::is_same_v<T, double> || std::is_same_v<T, float> || (std::is_integral_v<T> && std::is_signed_v<T> && sizeof(T) >= 4),
                "double, float, int32_t or int64_t");
  return std::is_same_v<T, double> ? at::kDouble : std::is_same_v<T, float> ? at::kFloat : sizeof(T) == 8 ? at::kLong : at::kInt;
}
template <class T>
T reduced(ValueRanks ranks, T value, ReduceOp op) {
  reduce_values(ranks, &value, 1, value_dtype<T>(), op);
  return value;
}
template <class T>
std::vector<T> reduced(ValueRanks ranks, std::vector<T> values, ReduceOp op) {
  reduce_values(ranks, values.data(), values.size(), value_dtype<T>(), op);
  return values;
}
}  // namespace detail

/// The sum over all ranks, of a number or element-wise of a vector, whose length is the same on all ranks. T is double, float, int32_t or
/// int64_t.
template <class T>
T all_sum(ValueRanks ranks, T value) {
  return detail::reduced(ranks, std::move(value), ReduceOp::sum);
}
/// The maximum over all ranks, as all_sum.
template <class T>
T all_max(ValueRanks ranks, T value) {
  return detail::reduced(ranks, std::move(value), ReduceOp::max);
}
/// The minimum over all ranks, as all_sum.
template <class T>
T all_min(ValueRanks ranks, T value) {
  return detail::reduced(ranks, std::move(value), ReduceOp::min);
}

/// Returns root's text. Arguments of other ranks are ignored, and may differ in length.
std::string broadcast_text(ValueRanks ranks, std::string text, int root = 0);
/// The same over an MPI communicator, before a Communicator exists.
std::string broadcast_text(MPI_Comm ranks, std::string text, int root = 0);
/// Returns root's value, of a trivially copyable type.
template <class T>
T broadcast_value(ValueRanks ranks, T value, int root = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  detail::broadcast_bytes(ranks, &value, sizeof(T), root);
  return value;
}
/// Returns root's values. Arguments of other ranks are ignored, and may differ in length.
template <class T>
std::vector<T> broadcast_values(ValueRanks ranks, std::vector<T> values, int root = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  values.resize(broadcast_value(ranks, values.size(), root));
  detail::broadcast_bytes(ranks, values.data(), values.size() * sizeof(T), root);
  return values;
}

/// The values of all ranks, in rank order; their number may differ between ranks. `counts`, if given, receives each rank's number.
template <class T>
std::vector<T> all_gather_values(ValueRanks ranks, const std::vector<T>& mine, std::vector<int64_t>* counts = nullptr) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>);
  std::vector<int64_t> sizes;
  const auto bytes = detail::all_gather_bytes(ranks, std::as_bytes(std::span(mine)), sizes);
  std::vector<T> all(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(static_cast<void*>(all.data()), bytes.data(), bytes.size());
  for (auto& size : sizes) size /= static_cast<int64_t>(sizeof(T));
  if (counts) *counts = std::move(sizes);
  return all;
}
/// One value of each rank, in rank order.
template <class T>
std::vector<T> all_gather_value(ValueRanks ranks, const T& mine) {
  return all_gather_values(ranks, std::vector<T>{mine});
}

/// If any rank has a failure, every rank throws the error of the lowest such rank, with its exit code, component and remedy; the
/// message begins with "rank N (HOST): ". The class follows from the exit code: IoError, DataError, ConfigError, UsageError, else Error. An
/// exception that is not a levin::Error becomes a UsageError of `component`. CommunicatorAborted is thrown at once: the other ranks get it
/// in their waits. A single rank throws its own exception.
void rethrow_on_all_ranks(ValueRanks ranks, const std::exception_ptr& failure, std::string_view component = "comm");
/// The same over an MPI communicator, before a Communicator exists.
void rethrow_on_all_ranks(MPI_Comm ranks, const std::exception_ptr& failure, std::string_view component = "comm");

/// Runs fn() on this rank and returns its result if it succeeded on all ranks; else as rethrow_on_all_ranks. `ranks`: a communicator, a
/// pointer to one, or an MPI_Comm. fn itself may be collective only over ranks that fail together.
template <class Ranks, class Fn>
auto on_all_ranks(Ranks&& ranks, std::string_view component, Fn&& fn) {
  std::exception_ptr failure;
  if constexpr (std::is_void_v<decltype(fn())>) {
    try {
      fn();
    } catch (...) {
      failure = std::current_exception();
    }
    rethrow_on_all_ranks(ranks, failure, component);
  } else {
    std::optional<decltype(fn())> result;
    try {
      result.emplace(fn());
    } catch (...) {
      failure = std::current_exception();
    }
    rethrow_on_all_ranks(ranks, failure, component);
    return std::move(*result);
  }
}
template <class Ranks, class Fn>
auto on_all_ranks(Ranks&& ranks, Fn&& fn) {
  return on_all_ranks(ranks, "comm", fn);
}

}  // namespace levin
