#pragma once
#include <c10/core/ScalarType.h>
#include <mpi.h>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// MPI's name for the dtype of partial results (see partial_dtype).
MPI_Datatype mpi_type(at::ScalarType dtype);

/// MPI's operations. Its own minimum and maximum of floating-point numbers may lose a NaN, so those are Levin's.
class MpiOps {
 public:
  MpiOps() = default;
  ~MpiOps();
  MpiOps(const MpiOps&) = delete;
  MpiOps& operator=(const MpiOps&) = delete;
  /// `op` is not the mean.
  MPI_Op get(at::ScalarType dtype, ReduceOp op);

 private:
  MPI_Op min_ = MPI_OP_NULL, max_ = MPI_OP_NULL;
};

}  // namespace levin::detail
