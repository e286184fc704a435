#pragma once
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/flight_record.h"

namespace levin::detail {

enum class Kind : uint8_t {
  all_reduce,
  reduce_scatter,
  all_gather,
  gather_shared,
  broadcast,
  all_to_all,
  send,
  recv,
  barrier,
  allocate,
  split
};

/// The header of a call, which ranks compare before data move.
struct CallHeader {
  uint64_t sequence = 0;  ///< for a message: its number for this pair and direction
  int64_t count = 0;      ///< elements; 0 for all_to_all with counts
  uint64_t label = 0;     ///< hash of the label; 0: no label
  Kind kind = Kind::barrier;
  ReduceOp op = ReduceOp::sum;
  at::ScalarType dtype = at::ScalarType::Undefined;
  bool has_counts = false;  ///< for all_to_all
  int32_t root = -1;        ///< root of a broadcast, or the other rank of a message
  bool operator==(const CallHeader&) const = default;
};
// The header travels in a flag's cache line, and its bytes are hashed.
static_assert(sizeof(CallHeader) == 32 && std::is_trivially_copyable_v<CallHeader>);
static_assert(std::has_unique_object_representations_v<CallHeader>);

/// A header with the text of its label, for error messages.
struct Call {
  static constexpr size_t label_bytes = 72;
  CallHeader header;
  std::array<char, label_bytes> label{};  ///< truncated, zero-terminated

  Call() = default;
  explicit Call(Kind kind, std::string_view label = {}, at::ScalarType dtype = at::ScalarType::Undefined, int64_t count = 0,
                ReduceOp op = ReduceOp::sum, int root = -1);
  /// "all_reduce number 7 of 100 Float, sum, for unit \"encoder\""
  std::string describe() const;
  /// Enters the call into the rank's flight record.
  void begin_in(CallSlot& slot) const noexcept;
};
static_assert(std::is_trivially_copyable_v<Call>);

/// The error of two ranks whose calls differ.
CommunicatorError disagreement(int first_rank, const Call& first, int other_rank, const Call& other);
/// Whether a send and its matching recv agree.
bool message_matches(const CallHeader& send, const CallHeader& recv) noexcept;

/// UsageError for invalid arguments of a call.
void check_tensor(const Tensor& tensor);
void check_pair(const Tensor& whole, const Tensor& part, int size);
void check_root(int root, int size);
void check_divisible(const Tensor& whole, int size);
void check_transfers(std::span<const Transfer> transfers, int size);
/// For all_to_all: output and input have the same dtype and, with equal parts, the same size.
void check_sides(const Tensor& output, const Tensor& input, bool has_counts);
/// Elements of each rank's part of `tensor`: `counts`, or equal parts if it is empty.
std::vector<int64_t> check_counts(const Tensor& tensor, std::span<const int64_t> counts, int size);
/// The error of an all_to_all in which `sender` sends another count than `receiver` expects.
CommunicatorError count_disagreement(int sender, int64_t sent, int receiver, int64_t expected, const Call& call);

inline std::byte* data_of(const Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }
inline void move_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  if (to != from && bytes != 0) std::memcpy(to, from, bytes);
}
/// Begin of a rank's slice. Slices are equal and begin at cache lines, so that two ranks never write to the same line.
size_t slice_begin(size_t count, size_t element_bytes, int rank, int size);

}  // namespace levin::detail
