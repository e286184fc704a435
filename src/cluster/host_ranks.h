#pragma once
#include <mpi.h>

#include <array>
#include <cstdint>
#include <optional>

#include "levin/comm/mpi_runtime.h"

namespace levin::detail {

/// The ranks that share this host's memory. Its functions are collective over them.
class HostRanks {
 public:
  /// Collective over the runtime's ranks.
  explicit HostRanks(const MpiRuntime& runtime) {
    check_mpi(MPI_Comm_split_type(runtime.communicator(), MPI_COMM_TYPE_SHARED, runtime.rank(), MPI_INFO_NULL, &ranks_),
              "MPI_Comm_split_type");
    MPI_Comm_rank(ranks_, &rank_);
    MPI_Comm_size(ranks_, &size_);
  }
  ~HostRanks() { MPI_Comm_free(&ranks_); }
  HostRanks(const HostRanks&) = delete;
  HostRanks& operator=(const HostRanks&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// Whether all ranks have this value, and none has null.
  bool agree(const std::optional<uint64_t>& value) const {
    // The least value and the least complement fit together only if all values are equal.
    const std::array<uint64_t, 3> mine{value ? 1U : 0U, value.value_or(0), ~value.value_or(0)};
    std::array<uint64_t, 3> least{};
    check_mpi(MPI_Allreduce(mine.data(), least.data(), static_cast<int>(mine.size()), MPI_UINT64_T, MPI_MIN, ranks_), "MPI_Allreduce");
    return least[0] == 1 && least[1] == ~least[2];
  }
  /// The first rank's value, of a trivially copyable type.
  template <class T>
  T first(T value) const {
    check_mpi(MPI_Bcast(&value, static_cast<int>(sizeof(T)), MPI_BYTE, 0, ranks_), "MPI_Bcast");
    return value;
  }

 private:
  MPI_Comm ranks_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
};

}  // namespace levin::detail
