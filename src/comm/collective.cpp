#include "collective.h"

#include <algorithm>

#include "reduce.h"

namespace levin::detail {
namespace {

constexpr const char* kind_names[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast",
                                      "barrier",    "allocate",       "split",      "gather_shared"};
constexpr int64_t root_unit = 8192, subject_unit = root_unit << 20;

}  // namespace

double encode(Kind kind, at::ScalarType dtype, ReduceOp op, int root) {
  return static_cast<double>(static_cast<int>(kind) + 8 * static_cast<int>(op) + 32 * static_cast<int>(dtype) + root_unit * root);
}

double with_subject(double call, int subject) { return call + static_cast<double>(subject_unit * subject); }

std::string Call::describe(const std::vector<std::string>& subjects) const {
  const auto number = static_cast<int64_t>(call);
  const auto kind = static_cast<Kind>(number % 8);
  std::string text = fmt::format("{} number {:.0f}", kind_names[static_cast<size_t>(kind)], sequence);
  if (kind == Kind::barrier || kind == Kind::split) return text;
  text += fmt::format(" of {:.0f} {}", numel, c10::toString(static_cast<at::ScalarType>(number / 32 % 256)));
  if (kind == Kind::broadcast) text += fmt::format(" from root {}", number / root_unit % (subject_unit / root_unit));
  if (kind == Kind::all_reduce || kind == Kind::reduce_scatter) text += fmt::format(", {}", name_of(static_cast<ReduceOp>(number / 8 % 4)));
  const auto subject = static_cast<size_t>(number / subject_unit);
  if (subject > 0 && subject <= subjects.size()) text += " for " + subjects[subject - 1];
  return text;
}

CommunicatorError disagreement(const Call& first, int rank, const Call& other, const std::vector<std::string>& subjects) {
  return CommunicatorError(
      fmt::format("the ranks disagree: rank 0 is in {}, rank {} in {}", first.describe(subjects), rank, other.describe(subjects)),
      "make the same calls in the same order on all ranks");
}

void check_tensor(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous())
    throw UsageError("comm", "a collective on a tensor that is undefined, not contiguous or not in host memory",
                     "give tensor.contiguous().cpu()");
}

void check_pair(const Tensor& whole, const Tensor& part, int size) {
  check_tensor(whole);
  check_tensor(part);
  if (whole.numel() != part.numel() * size || whole.scalar_type() != part.scalar_type())
    throw UsageError("comm",
                     fmt::format("the whole has {} elements of {} and this rank's part {} of {}", whole.numel(),
                                 c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                     fmt::format("the whole of {} ranks has {} times as many elements of the same dtype", size, size));
}

void check_root(int root, int size) {
  if (root < 0 || root >= size)
    throw UsageError("comm", fmt::format("broadcast from rank {} of {}", root, size), "give a rank of the communicator");
}

void check_divisible(const Tensor& whole, int size) {
  if (whole.numel() % size != 0)
    throw UsageError("comm", fmt::format("gather_shared of {} elements by {} ranks", whole.numel(), size),
                     "give a multiple of the number of ranks");
}

size_t slice_begin(size_t count, size_t element_bytes, int rank, int size) {
  const size_t line = 64 / element_bytes, lines = (count + line - 1) / line, ranks = static_cast<size_t>(size);
  return std::min(count, (lines + ranks - 1) / ranks * static_cast<size_t>(rank) * line);
}

}  // namespace levin::detail
