#include "mpi_reduce.h"

#include <array>

#include "levin/comm/mpi_runtime.h"
#include "reduce.h"

namespace levin::detail {
namespace {

at::ScalarType dtype_of(MPI_Datatype type) {
  if (type == MPI_FLOAT) return at::kFloat;
  if (type == MPI_DOUBLE) return at::kDouble;
  if (type == MPI_INT8_T) return at::kChar;
  return type == MPI_UINT8_T ? at::kByte : at::kShort;
}

template <ReduceOp op>
void reduce_elements(void* in, void* in_out, int* count, MPI_Datatype* type) {
  auto* output = static_cast<std::byte*>(in_out);
  const std::array<const std::byte*, 2> sources{static_cast<const std::byte*>(in), output};
  reduce({&output, 1}, sources, static_cast<size_t>(*count), dtype_of(*type), op);
}

MPI_Op create_once(MPI_Op& op, MPI_User_function* function) {
  if (op == MPI_OP_NULL) check_mpi(MPI_Op_create(function, /*commute=*/1, &op), "MPI_Op_create");
  return op;
}

}  // namespace

MPI_Datatype mpi_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return MPI_FLOAT;
    case at::kDouble: return MPI_DOUBLE;
    case at::kChar: return MPI_INT8_T;
    case at::kByte:
    case at::kBool: return MPI_UINT8_T;
    case at::kShort: return MPI_INT16_T;
    case at::kInt: return MPI_INT32_T;
    case at::kLong: return MPI_INT64_T;
    default: throw CommunicatorError(fmt::format("MPI cannot reduce {}", c10::toString(dtype)));
  }
}

MpiOps::~MpiOps() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  for (MPI_Op* op : {&min_, &max_, &sum_})
    if (*op != MPI_OP_NULL) MPI_Op_free(op);
}

MPI_Op MpiOps::get(at::ScalarType dtype, ReduceOp op) {
  const bool integer = !c10::isFloatingType(dtype);
  switch (op) {
    case ReduceOp::min: return integer ? MPI_MIN : create_once(min_, &reduce_elements<ReduceOp::min>);
    case ReduceOp::max: return integer ? MPI_MAX : create_once(max_, &reduce_elements<ReduceOp::max>);
    default: break;
  }
  const bool narrow = dtype == at::kChar || dtype == at::kByte || dtype == at::kShort;
  return narrow ? create_once(sum_, &reduce_elements<ReduceOp::sum>) : MPI_SUM;
}

}  // namespace levin::detail
