#include "mpi_reduce.h"

#include <array>

#include "levin/comm/mpi_runtime.h"
#include "reduce.h"

namespace levin::detail {
namespace {

template <ReduceOp op>
void reduce_floats(void* in, void* in_out, int* count, MPI_Datatype* type) {
  auto* output = static_cast<std::byte*>(in_out);
  const std::array<const std::byte*, 2> sources{static_cast<const std::byte*>(in), output};
  reduce({&output, 1}, sources, static_cast<size_t>(*count), *type == MPI_FLOAT ? at::kFloat : at::kDouble, op);
}

MPI_Op made(MPI_Op& op, MPI_User_function* function) {
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
    default: throw CommunicatorError(fmt::format("MPI does not reduce {}", c10::toString(dtype)));
  }
}

MpiOps::~MpiOps() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  for (MPI_Op* op : {&min_, &max_})
    if (*op != MPI_OP_NULL) MPI_Op_free(op);
}

MPI_Op MpiOps::get(at::ScalarType dtype, ReduceOp op) {
  const bool integer = !c10::isFloatingType(dtype);
  switch (op) {
    case ReduceOp::min: return integer ? MPI_MIN : made(min_, &reduce_floats<ReduceOp::min>);
    case ReduceOp::max: return integer ? MPI_MAX : made(max_, &reduce_floats<ReduceOp::max>);
    default: return MPI_SUM;
  }
}

}  // namespace levin::detail
