#include "collective.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "reduce.h"

namespace levin::detail {
namespace {

constexpr const char* kind_names[] = {"all_reduce", "reduce_scatter", "all_gather", "gather_shared", "broadcast", "all_to_all",
                                      "send",       "recv",           "barrier",    "allocate",      "split"};

uint64_t hash_of(std::string_view label) { return label.empty() ? 0 : XXH3_64bits(label.data(), label.size()) | 1; }

}  // namespace

Call::Call(Kind kind, std::string_view label_text, at::ScalarType dtype, int64_t count, ReduceOp op, int root)
    : header{.count = count, .label = hash_of(label_text), .kind = kind, .op = op, .dtype = dtype, .root = root} {
  std::copy_n(label_text.data(), std::min(label_text.size(), label_bytes - 1), label.data());
}

std::string Call::describe() const {
  const auto kind = header.kind;
  std::string text = fmt::format("{} number {}", kind_names[static_cast<size_t>(kind)], header.sequence);
  if (kind != Kind::barrier && kind != Kind::split) {
    text += header.has_counts ? " with counts of" : fmt::format(" of {}", header.count);
    text += fmt::format(" {}", c10::toString(header.dtype));
  }
  if (kind == Kind::broadcast) text += fmt::format(" from root {}", header.root);
  if (kind == Kind::send) text += fmt::format(" to rank {}", header.root);
  if (kind == Kind::recv) text += fmt::format(" from rank {}", header.root);
  if (kind == Kind::all_reduce || kind == Kind::reduce_scatter) text += fmt::format(", {}", name_of(header.op));
  if (label[0] != 0) text += fmt::format(" for {}", label.data());
  return text;
}

void Call::begin_in(CallSlot& slot) const noexcept {
  const bool has_data = header.kind != Kind::barrier && header.kind != Kind::split;
  slot.begin(kind_names[static_cast<size_t>(header.kind)], header.sequence, header.count, has_data ? c10::toString(header.dtype) : nullptr,
             label.data());
}

CommunicatorError disagreement(int first_rank, const Call& first, int other_rank, const Call& other) {
  return CommunicatorError(
      fmt::format("the ranks disagree: rank {} is in {}, rank {} in {}", first_rank, first.describe(), other_rank, other.describe()),
      "make the same calls in the same order on all ranks");
}

bool message_matches(const CallHeader& send, const CallHeader& recv) noexcept {
  return send.dtype == recv.dtype && send.count == recv.count && send.label == recv.label;
}

CommunicatorError count_disagreement(int sender, int64_t sent, int receiver, int64_t expected, const Call& call) {
  return CommunicatorError(fmt::format("the ranks disagree in {}: rank {} sends {} elements to rank {}, which expects {}", call.describe(),
                                       sender, sent, receiver, expected),
                           "make input_counts[r] of each rank s equal output_counts[s] of rank r");
}

void check_tensor(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous())
    throw UsageError("comm", "invalid tensor: it is undefined, not contiguous or not in CPU memory", "pass tensor.contiguous().cpu()");
}

void check_pair(const Tensor& whole, const Tensor& part, int size) {
  check_tensor(whole);
  check_tensor(part);
  if (whole.numel() != part.numel() * size || whole.scalar_type() != part.scalar_type())
    throw UsageError("comm",
                     fmt::format("the whole tensor has {} elements of {}, this rank's part {} of {}", whole.numel(),
                                 c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                     fmt::format("with {} ranks the whole tensor must have {} times the elements of a part, and its dtype", size, size));
}

void check_root(int root, int size) {
  if (root < 0 || root >= size)
    throw UsageError("comm", fmt::format("broadcast from rank {} of {}", root, size), "pass a rank of the communicator");
}

void check_divisible(const Tensor& whole, int size) {
  if (whole.numel() % size != 0)
    throw UsageError("comm", fmt::format("gather_shared of {} elements by {} ranks", whole.numel(), size),
                     "pass a multiple of the number of ranks");
}

void check_transfers(std::span<const Transfer> transfers, int size) {
  for (const auto& transfer : transfers) {
    check_tensor(transfer.tensor);
    if (transfer.peer < 0 || transfer.peer >= size)
      throw UsageError(
          "comm",
          fmt::format("a {} rank {} of {}", transfer.direction == Transfer::Direction::send ? "send to" : "recv from", transfer.peer, size),
          "pass a rank of the communicator");
  }
}

void check_sides(const Tensor& output, const Tensor& input, bool has_counts) {
  if (output.scalar_type() == input.scalar_type() && (has_counts || output.numel() == input.numel())) return;
  throw UsageError("comm",
                   fmt::format("all_to_all from {} elements of {} to {} of {}", input.numel(), c10::toString(input.scalar_type()),
                               output.numel(), c10::toString(output.scalar_type())),
                   "pass an output with the dtype of the input and, with equal parts, its number of elements");
}

std::vector<int64_t> check_counts(const Tensor& tensor, std::span<const int64_t> counts, int size) {
  check_tensor(tensor);
  if (counts.empty() && tensor.numel() % size == 0) return std::vector<int64_t>(static_cast<size_t>(size), tensor.numel() / size);
  const bool fits = static_cast<int>(counts.size()) == size &&
                    std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n >= 0; }) &&
                    std::accumulate(counts.begin(), counts.end(), int64_t{0}) == tensor.numel();
  if (!fits)
    throw UsageError("comm",
                     counts.empty() ? fmt::format("all_to_all of {} elements in equal parts by {} ranks", tensor.numel(), size)
                                    : fmt::format("all_to_all of {} elements in {} parts with a sum of {} by {} ranks", tensor.numel(),
                                                  counts.size(), std::accumulate(counts.begin(), counts.end(), int64_t{0}), size),
                     "pass one non-negative count per rank; their sum must be the number of elements");
  return {counts.begin(), counts.end()};
}

size_t slice_begin(size_t count, size_t element_bytes, int rank, int size) {
  const size_t line = 64 / element_bytes, lines = (count + line - 1) / line, ranks = static_cast<size_t>(size);
  return std::min(count, (lines + ranks - 1) / ranks * static_cast<size_t>(rank) * line);
}

}  // namespace levin::detail
