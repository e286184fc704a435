#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace stand_in {

constexpr int most_ranks = 16;
constexpr size_t area_bytes = size_t{1} << 20, message_bytes = size_t{64} << 10;

struct Call {
  enum class Kind : int32_t { all_reduce, reduce_scatter, all_gather, broadcast } kind;
  int32_t type, op, root;
  uint64_t count;
  bool operator==(const Call&) const = default;
};

/// Where a call's buffers lie. The ranks' placements must be equal.
struct Placement {
  int32_t input_registered = 0, output_registered = 0;
  int64_t input_offset = -1, output_offset = -1;  // in the address space of windows; -1: in no window
};

struct Seat {
  std::atomic<uint64_t> gate, posted, done;
  Call call;
  Placement placement;
  int64_t values[2];
};

struct Mailbox {
  std::atomic<uint64_t> sent, received;
  uint64_t bytes;
  std::byte data[message_bytes];
};

/// The ranks of a communicator, in a file that they map.
class Meeting {
 public:
  /// Collective; every wait ends when `aborted` is set.
  Meeting(const std::string& path, int rank, int size, const std::atomic<bool>& aborted);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  Seat& seat(int rank) const;
  Seat& mine() const { return seat(rank_); }
  /// Data of a rank's collective.
  std::byte* area(int rank) const;
  Mailbox& mailbox(int from, int to) const;

  /// False after an abort.
  bool wait(const std::function<bool()>& condition) const;
  bool wait_for_seats(const std::function<bool(const Seat&)>& condition) const;
  /// A barrier.
  bool gate();

 private:
  struct Table;
  int rank_, size_;
  const std::atomic<bool>& aborted_;
  Table* table_ = nullptr;
  uint64_t gates_ = 0;
};

}  // namespace stand_in
