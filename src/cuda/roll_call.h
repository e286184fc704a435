#pragma once
#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace levin {

/// Asks the other ranks of a communicator how far they are, by MPI on the threads that watch; without MPI_THREAD_MULTIPLE nobody is asked.
/// One thread at a time.
class RollCall {
 public:
  struct Position {
    uint64_t called = 0;   ///< operations that the rank has called
    uint64_t reached = 0;  ///< operations that its device has reached
  };
  /// Takes over `ranks`, a communicator for this alone; null where MPI is not for threads.
  explicit RollCall(MPI_Comm ranks);
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  /// Tells this rank's position to the ranks that have asked.
  void answer(const Position& mine) noexcept;
  /// Every rank's position, where it answers within `patience` or until stop().
  std::vector<std::optional<Position>> ask(const Position& mine, std::chrono::milliseconds patience, const std::function<bool()>& stop);

 private:
  struct Message;
  void send(int rank, int tag, const Position& mine);
  /// The next message with this tag, and its sender.
  std::optional<std::pair<int, Position>> receive(int tag);

  MPI_Comm ranks_;
  int rank_ = 0, size_ = 1;
  std::vector<std::unique_ptr<Message>> sent_;
};

}  // namespace levin
