#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// What a rank is about to do, in one number that is exact in a double: the kind, and op, dtype and root where it has them.
enum class Kind { all_reduce, reduce_scatter, all_gather, broadcast, barrier, allocate, split, gather_shared };
double encode(Kind kind, at::ScalarType dtype = at::ScalarType::Undefined, ReduceOp op = ReduceOp::sum, int root = 0);
/// The same with what the collective is about.
double with_subject(double call, int subject);

struct Call {
  double call = 0, numel = 0, sequence = 0;
  bool operator==(const Call&) const = default;
  /// "all_reduce number 7 of 100 Float, sum", with its subject
  std::string describe(const std::vector<std::string>& subjects) const;
};
/// The error of ranks whose calls differ.
CommunicatorError disagreement(const Call& first, int rank, const Call& other, const std::vector<std::string>& subjects);

/// UsageError for what a collective does not take.
void check_tensor(const Tensor& tensor);
void check_pair(const Tensor& whole, const Tensor& part, int size);
void check_root(int root, int size);
void check_divisible(const Tensor& whole, int size);

inline std::byte* data_of(const Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }
inline void move_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  if (to != from && bytes != 0) std::memcpy(to, from, bytes);
}
/// Where a rank's slice begins: equal slices, cut at cache lines so that two ranks never write to one.
size_t slice_begin(size_t count, size_t element_bytes, int rank, int size);

}  // namespace levin::detail
