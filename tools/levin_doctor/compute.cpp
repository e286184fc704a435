#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "doctor.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"

namespace levin::doctor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

// The fastest of several products, so that other load matters little.
double billions_of_flops(c10::Device device, double seconds) {
  const int64_t size = device.is_cpu() ? 1024 : 8192;
  constexpr int least_rounds = 3;
  const at::NoGradGuard no_grad;
  const Tensor a = at::ones({size, size}, at::TensorOptions().device(device));
  double best = std::numeric_limits<double>::infinity();
  const auto began = Clock::now();
  for (int round = 0; round <= least_rounds || seconds_since(began) < seconds; round++) {
    const auto start = Clock::now();
    at::matmul(a, a)[0][0].item<double>();  // a device has finished when it gives a number
    if (round > 0) best = std::min(best, seconds_since(start));
  }
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / best * 1e-9;
}

}  // namespace

void measure_products(Doctor& doctor, double seconds) {
  doctor.communicator.cpu().barrier("products");
  const auto values = doctor.report.gather("products", [&] { return billions_of_flops(doctor.device, seconds); });
  doctor.report.spread("products", values, doctor.report.rank_names(), "GFLOP/s a rank", Better::higher, ", fp32, all ranks at once");
}

void measure_all_reduce(Doctor& doctor, double seconds) {
  if (doctor.mpi.size() == 1) return;
  constexpr int64_t bytes = int64_t{32} << 20;
  double best = std::numeric_limits<double>::infinity();
  try {
    const auto tensor = doctor.communicator.allocate(bytes / 4, at::kFloat);
    const auto began = Clock::now();
    // Rank 0's clock says how often, for all ranks.
    for (bool more = true; more; more = broadcast_value(doctor.communicator, seconds_since(began) < seconds)) {
      doctor.communicator.barrier("all-reduce");
      const auto start = Clock::now();
      doctor.communicator.all_reduce(tensor, ReduceOp::sum, "all-reduce").synchronize();
      best = std::min(best, all_max(doctor.communicator, seconds_since(start)));
    }
  } catch (const IoError& error) {  // on all ranks
    doctor.report.finding(std::string("all-reduce: ") + error.what());
    return;
  }
  const auto ranks = static_cast<double>(doctor.mpi.size());
  const double speed = 2 * (ranks - 1) / ranks * static_cast<double>(bytes) / best * 1e-9;
  doctor.report.line("all-reduce", fmt::format("{:.3g} GB/s on the bus, {:.3g} ms for 32 MiB, {}", speed, best * 1e3,
                                               doctor.device.is_cuda() ? "NCCL" : "shared memory and MPI"));
}

}  // namespace levin::doctor
