#pragma once
#include <c10/core/ScalarType.h>
#include <mpi.h>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// The MPI datatype of partial results (see partial_dtype).
MPI_Datatype mpi_type(at::ScalarType dtype);

/// MPI's reduction operations, with two replacements: minimum and maximum of floating-point numbers, in which MPI may lose a NaN, and sums
/// of 8- and 16-bit integers, which Open MPI saturates on some CPUs and wraps on others.
class MpiOps {
 public:
  MpiOps() = default;
  ~MpiOps();
  MpiOps(const MpiOps&) = delete;
  MpiOps& operator=(const MpiOps&) = delete;
  /// `op` must not be the mean.
  MPI_Op get(at::ScalarType dtype, ReduceOp op);

 private:
  MPI_Op min_ = MPI_OP_NULL, max_ = MPI_OP_NULL, sum_ = MPI_OP_NULL;
};

}  // namespace levin::detail
