#pragma once
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"

namespace levin::test {

/// The collectives that metrics use, by plain MPI, counted.
class CountingCommunicator : public Communicator {
 public:
  explicit CountingCommunicator(const MpiRuntime& runtime) : comm_(runtime.communicator()) {
    rank_ = runtime.rank();
    size_ = runtime.size();
  }
  int all_reduces = 0, all_gathers = 0;

  uint64_t sequence() const noexcept override { return static_cast<uint64_t>(all_reduces + all_gathers); }
  Work all_reduce(const Tensor& tensor, ReduceOp op, std::string_view) override {
    ++all_reduces;
    if (tensor.scalar_type() != at::kDouble || (op != ReduceOp::sum && op != ReduceOp::max)) refuse("all_reduce");
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, tensor.mutable_data_ptr(), static_cast<int>(tensor.numel()), MPI_DOUBLE,
                            op == ReduceOp::sum ? MPI_SUM : MPI_MAX, comm_),
              "MPI_Allreduce");
    return {};
  }
  Work all_gather(const Tensor& output, const Tensor& input, std::string_view) override {
    ++all_gathers;
    if (output.numel() != size_ * input.numel() || output.scalar_type() != input.scalar_type()) refuse("all_gather");
    const int bytes = static_cast<int>(input.nbytes());
    check_mpi(MPI_Allgather(input.const_data_ptr(), bytes, MPI_BYTE, output.mutable_data_ptr(), bytes, MPI_BYTE, comm_), "MPI_Allgather");
    return {};
  }
  Work reduce_scatter(const Tensor&, const Tensor&, ReduceOp, std::string_view) override { refuse("reduce_scatter"); }
  Work gather_shared(const Tensor&, std::string_view) override { refuse("gather_shared"); }
  Work broadcast(const Tensor&, int, std::string_view) override { refuse("broadcast"); }
  Work all_to_all(const Tensor&, std::span<const int64_t>, const Tensor&, std::span<const int64_t>, std::string_view) override {
    refuse("all_to_all");
  }
  Work transfer(std::span<const Transfer>, std::string_view) override { refuse("transfer"); }
  void barrier(std::string_view) override { refuse("barrier"); }
  Tensor allocate(int64_t, at::ScalarType) override { refuse("allocate"); }
  std::unique_ptr<Communicator> split(int, int) override { refuse("split"); }
  void abort(const std::string&) noexcept override {}

 private:
  [[noreturn]] static void refuse(const char* call) { throw UsageError("test", call); }
  MPI_Comm comm_;
};

}  // namespace levin::test
